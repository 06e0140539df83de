// What Python hands over: sizes, static numbers, and pointers to arrays that it keeps alive.
// native/structs.py mirrors every struct field by field. All arrays are C-contiguous.
#pragma once
#include <cstdint>

namespace lightmamba {

// Functions as tables of nodes (numerics/tables.py): value = base + delta * fraction / 2^bits.
struct Tables {
    const int32_t* sigmoid;  // base << 16 | delta
    const int32_t* rsqrt;    // base << 16 | -delta
    const int32_t *softplus_base, *softplus_delta, *softplus_shift;
    const int32_t *exp2_base, *exp2_delta;
    int64_t sigmoid_bits, rsqrt_bits, softplus_bits, exp2_bits;
};

// Dynamic quantization of blocks (numerics/blocks.py: BlockQuant).
struct Blocks {
    int64_t block, qmin, qmax, base, offset;
    int64_t threshold[4];
};

// One projection. Where `panels`, weights and codes lie in tiles of 16 rows (project.hpp);
// otherwise as in the file, row by row.
struct Linear {
    const uint8_t *weights, *codes;
    const int32_t* row_shift;
    int64_t rows, channels, group, bits, panels;
    int64_t acc_shift, act_bits, span;  // span: octaves of scales for which 32-bit sums suffice
    int64_t low, high;                  // format of a row, or of a norm group's share of it
    Blocks act;
};

struct Layer {
    Linear in_proj, out_proj;
    const int32_t *conv_in_shift, *conv_weight, *conv_bias, *conv_out_shift, *conv_silu_shift;
    const int32_t *dt_bias, *A, *A_shift, *D, *gate_weight;
    int64_t eps_gate;
    int64_t frame, y, D_shift, z_silu, gate, weighted, hadamard;
};

struct Model {
    Tables tables;
    int64_t d_model, d_inner, d_in_proj, conv_dim, d_conv, nheads, headdim, ngroups, d_state;
    int64_t padded_state, state_block, state_bits, dithered, x_block, bc_block, tile_rows;
    int64_t group_dim, padded_group, transform, core_order;  // transform: order of the power part
    const int32_t* core;                                     // (core_order, core_order), of ±1
    int64_t dt_low, dt_high, eps, rms_shift, n_layer, vocab_size;
    const int8_t* embedding;
    const uint8_t* embedding_code;
    int64_t embedding_shift, embedding_channels, embedding_group;
    Linear head;
    const Layer* layers;
};

// A run of tokens of one sequence: vectors first .. first + count - 1 of a pass.
struct Slot {
    int64_t sequence, first, count;
};

// States of many sequences: the first layer's, and how many bytes further the next one's lie.
struct Sequences {
    int8_t* conv;
    char* h;
    uint8_t* h_exp;
    int64_t* position;
    int64_t conv_stride, h_stride, h_exp_stride;
};

// What saturated, by kind.
enum Lost {
    LOST_EMBEDDING, LOST_CLIPPED, LOST_IN_SCALE, LOST_IN, LOST_CONV_INPUT, LOST_CONV, LOST_DT,
    LOST_H, LOST_Y, LOST_GATE, LOST_HADAMARD, LOST_OUT_SCALE, LOST_OUT, LOST_RESIDUAL,
    LOST_HEAD_SCALE, LOST_HEAD, LOST_KINDS,
};

// Input of a projection as its kernel takes it, by vector.
struct Panel {
    int8_t* a;            // (vectors, channels): q, times 4 + m where q has 4 bits
    int32_t* scale;       // (vectors, channels / 32): shift or factor above 2^low
    int32_t* correction;  // (vectors, channels / group): for the offset of the weights
    int64_t* low;         // (vectors): -1 where scales lie too far apart
};

// Everything between two tokens' residual streams; axes begin with the vectors of the pass.
struct Work {
    int64_t vectors, wanted;
    const int64_t* ids;
    const int64_t* want;  // vectors whose logits are asked for
    int32_t* u;           // (d_model)
    int32_t *in_rms, *in_rms_shift;
    int8_t* in_q;
    uint8_t* in_code;
    int16_t* rows;  // (d_in_proj)
    int16_t* conv;  // (conv_dim)
    int8_t *x, *x_exp, *B, *B_exp, *C, *C_exp;
    int32_t *dt, *dt_shift, *decay;  // (nheads)
    int32_t *y, *g, *weighted;       // (d_inner)
    int64_t* squares;                // (nheads): of g
    int32_t* mixed;                  // (channels of out_proj)
    int32_t *out_rms, *out_rms_shift;  // (ngroups)
    int8_t* out_q;
    uint8_t* out_code;
    int64_t* out_rows;  // (d_model)
    int32_t *head_rms, *head_rms_shift;
    int8_t* head_q;
    uint8_t* head_code;
    int32_t* logits;  // (wanted, vocab_size)
    Panel panel;
    int64_t* lost;  // (LOST_KINDS)
};

}  // namespace lightmamba
