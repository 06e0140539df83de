// The online Hadamard transform of the input of out_proj. Source: numerics/gate.py, hadamard.py.
#pragma once
#include "arithmetic.hpp"
#include "quantize.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

template <int STRIDE>
INLINE i32x16 butterfly(i32x16 v) {
    constexpr int S = STRIDE;
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const i32x16 second = (lane & S) != 0;
    const i32x16 other = __builtin_shufflevector(
        v, v, 0 ^ S, 1 ^ S, 2 ^ S, 3 ^ S, 4 ^ S, 5 ^ S, 6 ^ S, 7 ^ S, 8 ^ S, 9 ^ S, 10 ^ S, 11 ^ S,
        12 ^ S, 13 ^ S, 14 ^ S, 15 ^ S
    );
    return other + ((v ^ second) - second);
}

// Transform of 128 values below 2^24 in place: 31 bits hold them.
INLINE void hadamard128(int32_t* x) {
    i32x16 v[8];
    for (int i = 0; i < 8; ++i) {
        v[i] = butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load<i32x16>(x + 16 * i)))));
    }
    for (int half = 1; half < 8; half *= 2) {
        for (int i = 0; i < 8; ++i) {
            if (i & half) continue;
            const i32x16 first = v[i], second = v[i + half];
            v[i] = first + second;
            v[i + half] = first - second;
        }
    }
    for (int i = 0; i < 8; ++i) store(x + 16 * i, v[i]);
}

// Any order: butterflies over runs of `transform`, then the core matrix over the runs.
APART void hadamard_plain(const Transform& f, int64_t* line) {
    const int64_t power = f.power, count = f.core_order, order = power * count;
    for (int64_t half = 1; half < power; half *= 2) {
        for (int64_t start = 0; start < f.padded; start += 2 * half) {
            for (int64_t i = start; i < start + half; ++i) {
                const int64_t first = line[i], second = line[i + half];
                line[i] = first + second;
                line[i + half] = first - second;
            }
        }
    }
    if (count == 1) return;
    int64_t column[1024];
    for (int64_t start = 0; start < f.padded; start += order) {
        for (int64_t i = start; i < start + power; ++i) {
            for (int64_t c = 0; c < count; ++c) column[c] = line[i + c * power];
            for (int64_t r = 0; r < count; ++r) {
                int64_t mixed = 0;
                for (int64_t c = 0; c < count; ++c) mixed += f.core[r * count + c] * column[c];
                line[i + r * power] = mixed;
            }
        }
    }
}

// The transform of one norm group of one vector, rounded and saturated; returns how many values were. `line`
// is memory for 64 bits of each channel.
APART int64_t hadamard_group(const Transform& f, const int32_t* from, int32_t* to, int64_t* line) {
    const int64_t size = f.dim, padded = f.padded, shift = f.shift;
    if (f.power == 128 && f.core_order == 1) {
        std::memcpy(to, from, size * 4);
        std::memset(to + size, 0, (padded - size) * 4);
        for (int64_t i = 0; i < padded; i += 128) hadamard128(to + i);
        if (shift == 0) return 0;
        for (int64_t i = 0; i < padded; ++i) to[i] = (to[i] >> shift) + ((to[i] >> (shift - 1)) & 1);
        return 0;
    }
    for (int64_t i = 0; i < padded; ++i) line[i] = i < size ? from[i] : 0;
    hadamard_plain(f, line);
    int64_t lost = 0;
    for (int64_t i = 0; i < padded; ++i) {
        const int64_t wide = round_shift(line[i], shift);
        to[i] = saturate(wide, -LARGEST31 - 1, LARGEST31);
        lost += to[i] != wide;
    }
    return lost;
}

}  // namespace
}  // namespace lightmamba
