// An MLP as Python hands it over; compiled.py mirrors it field by field.
#pragma once
#include "../../native/types.hpp"

namespace lightmamba {

struct Mlp {
    const Tables* tables;
    int64_t in_rows, d_hidden, gated;
    int64_t silu, shift;  // right shifts: of a to the sigmoid's input, of a product
};

struct MlpWork {
    const void* none;
};

}  // namespace lightmamba
