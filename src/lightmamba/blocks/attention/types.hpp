// An attention mixer as Python hands it over.
#pragma once
#include "../../native/types.hpp"

namespace lightmamba {

SHARED(attention,

struct Attention {
    const Tables* tables;
    int64_t in_rows, n_heads, n_kv_heads, head_dim, block, blocks;  // blocks: of a head
    int64_t score, mean;  // right shifts: of a sum of products, of a mean of values
    int64_t k_at, k_exp_at, v_at, v_exp_at;  // bytes from the start of a page
};

struct AttentionWork {
    const void* none;
};

)  // SHARED

}  // namespace lightmamba
