// The phases of an MLP: hidden values, and a 1/rms of one. Source: numerics/mlp.py.
#pragma once
#include "../../native/kernels.hpp"
#include "../../native/quantize.hpp"
#include "hidden.hpp"

namespace lightmamba {

LOSSES(mlp.hidden)

SHARED(mlp,

struct Mlp {
    const Tables* tables;
    int64_t in_rows, d_hidden, gated;
    int64_t silu, shift;  // right shifts: of a to the sigmoid's input, of a product
};

)  // SHARED

namespace {

struct MlpPhases {
    enum { HIDDEN, IN_A_PASS };
    static constexpr int64_t RUN = 1024;  // channels of an item

    static int64_t runs(const Mlp& k) { return (k.d_hidden + RUN - 1) / RUN; }

    static int64_t items(const Job& job, int) {
        return job.work->vectors * runs(*(const Mlp*)job.layer->mixer);
    }

    static int64_t scratch(const Job&, int64_t) { return 0; }

    static void item(const Job& job, int, int64_t i, void*) {
        const Mlp& k = *(const Mlp*)job.layer->mixer;
        const Work& w = *job.work;
        const int64_t v = i / runs(k), begin = i % runs(k) * RUN, left = k.d_hidden - begin;
        const int16_t* a = w.rows + v * k.in_rows + begin;
        const HiddenRows rows{k.tables, a, k.gated ? a + k.d_hidden : nullptr, k.silu, k.shift};
        const int64_t lost = hidden_values(rows, left < RUN ? left : RUN, w.weighted + v * k.d_hidden + begin);
        add_lost(w.lost_of(v), LOST_MLP_HIDDEN, lost);
    }

    static void rms(const Job& job, int64_t v) { unit_rms(*job.work, 1, v); }
};

}  // namespace
}  // namespace lightmamba
