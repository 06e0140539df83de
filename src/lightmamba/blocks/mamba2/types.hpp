// A Mamba2 mixer as Python hands it over.
#pragma once
#include "../../native/types.hpp"

namespace lightmamba {

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
