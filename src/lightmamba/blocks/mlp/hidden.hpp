// Hidden values of an MLP, or of a block of experts. Source: numerics/mlp.py.
#pragma once
#include "../../native/quantize.hpp"
#include "../../native/silu.hpp"
#include "../../native/types.hpp"

namespace lightmamba {
namespace {

// Where rows a and b lie, b null without a gate; right shifts of a to the sigmoid's input and of a product.
struct HiddenRows {
    const Tables* tables;
    const int16_t *a, *b;
    int64_t silu, shift;
};

// n hidden values of one vector; returns how many saturated.
APART int64_t hidden_values(const HiddenRows& k, int64_t n, int32_t* out) {
    const i64x8 low = all64(-LARGEST24 - 1), high = all64(LARGEST24);
    i64x8 lost = {};
    int64_t c = 0;
    for (; c + 16 <= n; c += 16) {
        const i32x16 as = widen(k.a + c), zero = {};
        const i32x16 soft = k.b ? silu(*k.tables, as, all(k.silu)) : as > zero ? as : zero;
        const i32x16 other = k.b ? widen(k.b + c) : soft;
        for (int half = 0; half < 2; ++half) {
            const auto part = [&](i32x16 x) { return half ? upper(x) : lower(x); };
            const i64x8 product = round_shift(part(other) * part(soft), k.shift);
            const i64x8 kept = clamp(product, low, high);
            lost -= kept != product;
            narrow(out + c + 8 * half, kept);
        }
    }
    int64_t bad = sum(lost);
    for (; c < n; ++c) {
        const int64_t soft = k.b ? silu(*k.tables, k.a[c], k.silu) : k.a[c] > 0 ? k.a[c] : 0;
        const int64_t product = round_shift((k.b ? k.b[c] : soft) * soft, k.shift);
        const int64_t kept = saturate(product, -LARGEST24 - 1, LARGEST24);
        bad += kept != product;
        out[c] = kept;
    }
    return bad;
}

}  // namespace
}  // namespace lightmamba
