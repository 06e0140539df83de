// An MLP as Python hands it over.
#pragma once
#include "../../native/types.hpp"

namespace lightmamba {

SHARED(mlp,

struct Mlp {
    const Tables* tables;
    int64_t in_rows, d_hidden, gated;
    int64_t silu, shift;  // right shifts: of a to the sigmoid's input, of a product
};

struct MlpWork {
    const void* none;
};

)  // SHARED

}  // namespace lightmamba
