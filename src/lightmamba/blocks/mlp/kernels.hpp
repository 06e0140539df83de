// The phases of an MLP: hidden values, and a 1/rms of one. Source: numerics/mlp.py.
#pragma once
#include "../../native/kernels.hpp"
#include "../../native/quantize.hpp"
#include "../../native/silu.hpp"

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

// Hidden values begin .. end - 1 of one vector.
APART void hidden_values(const Mlp& k, const Work& w, int64_t v, int64_t begin, int64_t end) {
    const int16_t *a = w.rows + v * k.in_rows, *b = k.gated ? a + k.d_hidden : a;
    int32_t* out = w.weighted + v * k.d_hidden;
    const i64x8 low = all64(-LARGEST24 - 1), high = all64(LARGEST24);
    i64x8 lost = {};
    int64_t c = begin;
    for (; c + 16 <= end; c += 16) {
        const i32x16 as = widen(a + c), zero = {};
        const i32x16 soft = k.gated ? silu(*k.tables, as, all(k.silu)) : as > zero ? as : zero;
        const i32x16 other = k.gated ? widen(b + c) : soft;
        for (int half = 0; half < 2; ++half) {
            const auto part = [&](i32x16 x) { return half ? upper(x) : lower(x); };
            const i64x8 product = round_shift(part(other) * part(soft), k.shift);
            const i64x8 kept = clamp(product, low, high);
            lost -= kept != product;
            narrow(out + c + 8 * half, kept);
        }
    }
    int64_t bad = sum(lost);
    for (; c < end; ++c) {
        const int64_t soft = k.gated ? silu(*k.tables, a[c], k.silu) : a[c] > 0 ? a[c] : 0;
        const int64_t product = round_shift((k.gated ? b[c] : soft) * soft, k.shift);
        const int64_t kept = saturate(product, -LARGEST24 - 1, LARGEST24);
        bad += kept != product;
        out[c] = kept;
    }
    add_lost(w.lost_of(v), LOST_MLP_HIDDEN, bad);
}

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
        const int64_t begin = i % runs(k) * RUN, end = begin + RUN;
        hidden_values(k, *job.work, i / runs(k), begin, end < k.d_hidden ? end : k.d_hidden);
    }

    static void rms(const Job& job, int64_t v) { unit_rms(*job.work, 1, v); }
};

}  // namespace
}  // namespace lightmamba
