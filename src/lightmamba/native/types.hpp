// What Python hands over: sizes, static numbers, and pointers to arrays that it keeps alive.
// All arrays are C-contiguous.
#pragma once
#include <cstdint>

#include "kinds.hpp"  // made by setup.py
#include "shared.hpp"

namespace lightmamba {

SHARED(native,

// Functions as tables of nodes (numerics/tables.py): value = base + delta * fraction / 2^bits.
struct Tables {
    const int32_t* sigmoid;  // base << 16 | delta
    const int32_t *rsqrt, *reciprocal;  // base << 16 | -delta
    const int32_t *softplus_base, *softplus_delta, *softplus_shift;
    const int32_t *exp2_base, *exp2_delta;
    int64_t sigmoid_bits, rsqrt_bits, reciprocal_bits, softplus_bits, exp2_bits;
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
    int64_t raw;                        // rows are the sums as they are, without rounding
    Blocks act;
};

// The online Hadamard transform of the input of out_proj, in each of `groups` norm groups of `dim`
// channels; its order is `power`, a power of two, times that of the core matrix.
struct Transform {
    int64_t groups, dim, padded, power, core_order, shift;
    const int32_t* core;  // (core_order, core_order), of +1 and -1
};

// Where a router chooses blocks of both projections, their rows are those of a block, and blocks follow each
// other, each in tiles of its own.
struct Layer {
    int64_t kind;
    Linear router, in_proj, out_proj;  // a router without rows is none
    Transform transform;
    const void* mixer;  // of the kind

    bool routed() const { return router.rows != 0; }
};

struct Model {
    Tables tables;
    int64_t d_model, eps, rms_shift, vocab_size;
    const int8_t* embedding;
    const uint8_t* embedding_code;
    int64_t embedding_shift, embedding_channels, embedding_group;
    Linear head;
    const Layer* layers;
};

// A run of tokens of one sequence: vectors first .. first + count - 1 of a pass. Before them come
// `replay` tokens of the sequence's record; its state is kept as it is after those and `commit` of
// the new ones, and the rest is recorded.
struct Slot {
    int64_t sequence, first, count, replay, commit;
};

// States of many sequences, `stride` bytes apart, the pages of tokens of each, and its record: two
// halves of `record_tokens`, one that is read and one that is written.
struct Sequences {
    char* data;
    int64_t stride;
    const int64_t* position;  // of the first new token
    char* const* pages;
    int64_t page_bytes;
    char* record;
    int64_t record_tokens, record_bytes;  // of a half; of a token
    const int64_t* half;                  // that is read

    char* of(int64_t sequence) const { return data + sequence * stride; }
    char* page(int64_t sequence, int64_t n) const { return pages[sequence] + n * page_bytes; }
    char* recorded(int64_t sequence, int64_t n) const { return token(sequence, half[sequence], n); }
    char* to_record(int64_t sequence, int64_t n) const { return token(sequence, 1 - half[sequence], n); }

private:
    char* token(int64_t sequence, int64_t of, int64_t n) const {
        return record + ((2 * sequence + of) * record_tokens + n) * record_bytes;
    }
};

// Input of a projection as its kernel takes it, by vector.
struct Panel {
    int8_t* a;            // (vectors, channels): q, times 4 + m where q has 4 bits
    int32_t* scale;       // (vectors, channels / 32): shift or factor above 2^low
    int32_t* correction;  // (vectors, channels / group): for the offset of the weights
    int64_t* low;         // (vectors): -1 where scales lie too far apart
};

// What lies between two layers' residual streams; axes begin with the vectors of the pass, of the
// widest layer's length. Where a vector takes several blocks of the projections, `rows` to `mixed`, `out_q`,
// `out_code` and the panel have what is between them for each pair of a vector and a block, by block.
struct Work {
    int64_t vectors, wanted;
    const int64_t* ids;
    const int64_t* want;  // vectors whose logits are asked for
    int32_t* u;           // (d_model)
    int32_t *in_rms, *in_rms_shift;
    int8_t* in_q;
    uint8_t* in_code;
    int16_t* rows;      // (rows of in_proj)
    int32_t* weighted;  // (channels of out_proj, without padding), before the transform
    int32_t* mixed;     // (channels of out_proj)
    int32_t *out_rms, *out_rms_shift;  // (norm groups)
    int8_t* out_q;
    uint8_t* out_code;
    int64_t* out_rows;  // (d_model), of all that a vector takes
    int32_t *head_rms, *head_rms_shift;
    int8_t* head_q;
    uint8_t* head_code;
    int32_t* logits;  // (wanted, vocab_size)
    Panel panel;
    int64_t* lost;             // (LOST_KINDS)
    const void* own[N_KINDS];  // what lies between the projections, by kind

    int64_t* lost_of(int64_t v) const { return lost + v * LOST_KINDS; }
};

)  // SHARED

}  // namespace lightmamba
