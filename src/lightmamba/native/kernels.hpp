// The functions of the kernels. The library is built once per instruction set.
#pragma once
#include "types.hpp"

namespace lightmamba {

// Steps between two barriers. Each is a number of independent items.
enum Phase {
    EMBED,      // by vector
    NORM,       // by vector: residual of the layer before (if any), rms and input of in_proj
    IN_PROJ,    // by two tiles of rows
    HADAMARD,   // by vector; only one by one
    QUANTIZE,   // by vector: the transform, rms and input of out_proj
    OUT_PROJ,   // by two tiles of rows
    RESIDUAL,   // by vector
    HEAD_NORM,  // by wanted vector
    HEAD,       // by two tiles of rows
    MIXER,      // from here on: phases of the layer's kind
};

struct Job {
    const Model* model;
    const Layer* layer;
    const Work* work;
    const Sequences* states;
    const Slot* slots;
    int64_t n_slots;
    bool after_layer;  // NORM adds the layer before first
};

// Single operations over arrays, for callers that go step by step.
SHARED(operations,

struct RmsOp {
    const int32_t* x;
    int64_t channels, groups, shift, eps;
    int32_t *mantissa, *j;
};

struct QuantizeOp {
    Blocks format;
    const int32_t* x;
    int64_t given, channels;
    int8_t* q;
    uint8_t* code;
    int64_t* lost;  // clipped, clamped
};

struct LinearOp {
    Linear linear;
    const int8_t* q;
    const uint8_t* code;
    Panel panel;
    const int32_t *mantissa, *j;
    int64_t groups, vectors, out_bytes;  // 2, 4 or 8
    void* out;
    int64_t* lost;
};

struct PackOp {
    const uint8_t *weights, *codes;
    int64_t rows, channels, group, bits;
    uint8_t *to, *to_codes;
};

)  // SHARED

// Names of kinds and losses; texts of all shared structs: native, operations, events, and each kind's.
extern const char* const SHARED_TEXTS[4 + N_KINDS];

int mixer_phases(const Job& job);  // how many of its kind's a pass has
int64_t items(const Job& job, int phase);
int64_t scratch(const Job& job);  // bytes per thread
void run_item(const Job& job, int phase, int64_t i, void* scratch);
void run_rms(const Model& model, const RmsOp& op, int64_t vector);
void run_quantize(const QuantizeOp& op, int64_t vector);
void run_panel(const LinearOp& op, int64_t vector);
void run_linear(const LinearOp& op, int64_t two);  // tiles of rows
void pack(const PackOp& op, int64_t tile);

}  // namespace lightmamba
