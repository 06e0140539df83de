// int8 with a power of two per block. Source: numerics/blocks.py (Pow2Block).
#pragma once
#include "arithmetic.hpp"

namespace lightmamba {
namespace {

// n int16 values to int8 with a power of two per block, zero-padded to whole blocks.
INLINE void pow2_blocks(const int16_t* x, int64_t n, int64_t block, int8_t* q, int8_t* exponent) {
    for (int64_t start = 0; start < n; start += block) {
        const int64_t stop = start + block < n ? start + block : n;
        int32_t largest = 0;
        for (int64_t i = start; i < stop; ++i) {
            const int32_t size = x[i] < 0 ? -int32_t(x[i]) : x[i];
            largest = largest < size ? size : largest;
        }
        const int bits = bit_length(uint64_t(largest)), e = bits > 7 ? bits - 7 : 0;
        const int32_t half = (1 << e) >> 1;
        *exponent++ = e;
        for (int64_t i = start; i < stop; ++i) {
            const int32_t wide = (x[i] + half) >> e;
            q[i] = wide < -127 ? -127 : wide > 127 ? 127 : wide;
        }
        for (int64_t i = stop; i < start + block; ++i) q[i] = 0;
    }
}

}  // namespace
}  // namespace lightmamba
