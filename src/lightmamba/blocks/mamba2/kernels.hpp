// The phases of a Mamba2 mixer.
#pragma once
#include "../../native/kernels.hpp"

namespace lightmamba {

LOSSES(conv.input, conv, dt, ssm.h, ssm.y, gate)

SHARED(mamba2,

// Sizes and static numbers of one layer.
struct Mamba2 {
    const Tables* tables;
    int64_t in_rows, d_inner, conv_dim, d_conv, nheads, headdim, ngroups, d_state;
    int64_t padded_state, state_block, state_bits, dithered, x_block, bc_block, tile_rows;
    int64_t conv_at, h_at, h_exp_at;  // bytes from the start of a sequence's state
    // Bytes from the start of a recorded token.
    int64_t taps_at, x_at, x_exp_at, B_at, B_exp_at, dt_at, dt_shift_at, decay_at;
    const int32_t *conv_in_shift, *conv_weight, *conv_bias, *conv_out_shift, *conv_silu_shift;
    const int32_t *dt_bias, *A, *A_shift, *D, *gate_weight;
    int64_t eps_gate, dt_low, dt_high;
    int64_t frame, y, D_shift, z_silu, gate, weighted;
};

// Between the projections; axes begin with the vectors of the pass.
struct Mamba2Work {
    int16_t* conv;  // (conv_dim)
    int8_t *x, *x_exp, *B, *B_exp, *C, *C_exp;
    int32_t *dt, *dt_shift, *decay;  // (nheads)
    int32_t *y, *g;                  // (d_inner)
    int64_t* squares;                // (nheads): of g
};

)  // SHARED

}  // namespace lightmamba

// These take the structs above.
#include "front.hpp"
#include "gate.hpp"
#include "scan.hpp"

namespace lightmamba {
namespace {

struct Mamba2Phases {
    enum { FRONT, MIX, IN_A_PASS, SCAN = IN_A_PASS, GATE };  // the last two only one by one

    static int64_t items(const Job& job, int phase) {
        const Mamba2& k = *(const Mamba2*)job.layer->mixer;
        switch (phase) {
            case FRONT: return job.n_slots * (k.nheads + 2 * k.ngroups);  // by slot, head, B or C
            case GATE: return job.work->vectors * k.nheads;
        }
        return job.n_slots * k.nheads;
    }

    static int64_t scratch(const Job& job, int64_t longest) {
        const Mamba2& k = *(const Mamba2*)job.layer->mixer;
        const int64_t width = k.headdim > k.d_state ? k.headdim : k.d_state;
        const int64_t window = (k.d_conv - 1 + longest) * width, scan = scan_scratch(k, longest);
        return window > scan ? window : scan;
    }

    static void item(const Job& job, int phase, int64_t i, void* space) {
        const Mamba2& k = *(const Mamba2*)job.layer->mixer;
        const Work& w = *job.work;
        const Mamba2Work& own = *(const Mamba2Work*)w.own[KIND_MAMBA2];
        switch (phase) {
            case FRONT: {
                const int64_t per_slot = k.nheads + 2 * k.ngroups;
                const Slot& slot = job.slots[i / per_slot];
                return front_item(k, w, own, *job.states, slot, i % per_slot, (int8_t*)space);
            }
            case GATE: return gate_item(k, w, own, i / k.nheads, i % k.nheads);
        }
        const Slot& slot = job.slots[i / k.nheads];
        const int64_t head = i % k.nheads;
        scan_item(k, w, own, *job.states, slot, head, space);
        for (int64_t t = 0; phase == MIX && t < slot.count; ++t) {
            gate_item(k, w, own, slot.first + t, head);
        }
    }

    static void rms(const Job& job, int64_t v) {
        gate_rms(*(const Mamba2*)job.layer->mixer, *job.work, *(const Mamba2Work*)job.work->own[KIND_MAMBA2], v);
    }
};

}  // namespace
}  // namespace lightmamba
