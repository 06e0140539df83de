// x * sigmoid(x) by table. Source: numerics/conv.py (Silu), tables.py.
#pragma once
#include "arithmetic.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

constexpr int64_t LOW16 = -32768, HIGH16 = 32767;

INLINE i32x16 gather(const int32_t* table, i32x16 at) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_i32gather_epi32((__m512i)at, table, 4);
#else
    i32x16 out;
    for (int i = 0; i < 16; ++i) out[i] = table[at[i]];
    return out;
#endif
}

// Sigmoid, with 16 fractional bits, of x shifted right to 11.
INLINE int64_t sigmoid(const Tables& t, int64_t x, int64_t shift) {
    const int64_t offset = saturate(round_shift(x, shift), LOW16, HIGH16) - LOW16;
    const uint32_t node = t.sigmoid[offset >> t.sigmoid_bits];
    const int64_t fraction = offset & ((1 << t.sigmoid_bits) - 1);
    return interpolate(node >> 16, node & 0xFFFF, fraction, t.sigmoid_bits);
}

INLINE int64_t silu(const Tables& t, int64_t x, int64_t shift) { return round_shift(x * sigmoid(t, x, shift), 16); }

// The same for int16 values in 32 bits: beyond 20 to the right all is 0, beyond 16 to the left all
// but 0 saturates.
INLINE i32x16 silu(const Tables& t, i32x16 x, i32x16 shift) {
    const int bits = t.sigmoid_bits;
    const i32x16 right = clamp(shift, all(0), all(20)), left = clamp(-shift, all(0), all(16));
    const i32x16 wide = ((x << left) + ((all(1) << right) >> 1)) >> right;
    const i32x16 offset = clamp(wide, all(LOW16), all(HIGH16)) - int32_t(LOW16);
    const i32x16 node = gather(t.sigmoid, offset >> bits), base = (i32x16)((u32x16)node >> 16);
    const i32x16 product = (node & 0xFFFF) * (offset & ((1 << bits) - 1));
    const i32x16 sigma = base + ((product + (1 << bits >> 1)) >> bits);
    return (x * sigma + 32768) >> 16;
}

}  // namespace
}  // namespace lightmamba
