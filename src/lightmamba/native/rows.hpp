// Finished sums of 16 rows: scales of groups, 1/rms, rounding, and the way to memory.
// Source: numerics/linear.py (Projection, Epilogue).
#pragma once
#include "arithmetic.hpp"
#include "dot.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

// Factors (32 + m) * 2^e of 16 rows.
INLINE i32x16 group_factors(const uint8_t* codes) {
    const i32x16 code = widen(codes);
    return ((code & 31) + 32) << (code >> 5);
}

// 16 rows in 64 bits: even and odd ones where the processor multiplies so, else lower and upper ones;
// and how often they saturated.
struct Rows {
    i64x8 half[2], lost;
};

// Zeros, by stores of vectors: `= {}` of many is a slow loop of bytes.
template <int N>
INLINE void clear(Rows* rows) {
    #pragma GCC unroll 8
    for (int t = 0; t < N; ++t) rows[t].half[0] = rows[t].half[1] = rows[t].lost = all64(0);
}

INLINE void split(i32x16 v, i64x8 out[2]) {
#if defined(__AVX512F__)
    out[0] = (i64x8)v << 32 >> 32;
    out[1] = (i64x8)v >> 32;
#else
    out[0] = lower(v);
    out[1] = upper(v);
#endif
}

// The inverse, for numbers that fit 32 bits.
INLINE i32x16 join(const Rows& rows) {
#if defined(__AVX512F__)
    return (i32x16)((rows.half[0] & 0xFFFFFFFF) | rows.half[1] << 32);
#else
    i32x16 out;
    narrow((int32_t*)&out, rows.half[0]);
    narrow((int32_t*)&out + 8, rows.half[1]);
    return out;
#endif
}

INLINE int64_t row_of(const Rows& rows, int row) {
#if defined(__AVX512F__)
    return rows.half[row % 2][row / 2];
#else
    return rows.half[row / 8][row % 8];
#endif
}

INLINE void multiply_add(i64x8 acc[2], i32x16 sums, i32x16 factors) {
#if defined(__AVX512F__)
    const __m512i s = (__m512i)sums, f = (__m512i)factors;
    acc[0] += (i64x8)_mm512_mul_epi32(s, f);
    acc[1] += (i64x8)_mm512_mul_epi32(_mm512_srli_epi64(s, 32), _mm512_srli_epi64(f, 32));
#else
    acc[0] += lower(sums) * lower(factors);
    acc[1] += upper(sums) * upper(factors);
#endif
}

// Round, times 1/rms, round, saturate; the finished rows are added to `rows`. Rows beyond the last are
// zeros, which saturate nowhere.
INLINE void finish(
    const Linear& f, const i64x8 acc[2], int64_t low, int64_t tile, int32_t rms, int32_t j, Rows& rows
) {
    constexpr int64_t WIDE = (int64_t(1) << 39) - 1;
    if (f.raw) {
        for (int half = 0; half < 2; ++half) rows.half[half] += acc[half] << (low < 0 ? 0 : low);
        return;
    }
    i64x8 shift[2];
    split(load<i32x16>(f.row_shift + tile * ROWS), shift);
    for (int half = 0; half < 2; ++half) {
        const i64x8 by = clamp(shift[half] + int64_t(j), all64(0), all64(62));
        const i64x8 rounded = round_shift(acc[half] << (low < 0 ? 0 : low), f.acc_shift);
        const i64x8 wide = clamp(rounded, all64(-WIDE - 1), all64(WIDE));
        const i64x8 scaled = round_right(wide * int64_t(rms), by);
        const i64x8 value = clamp(scaled, all64(f.low), all64(f.high));
        rows.lost -= (wide != rounded) + (value != scaled);
        rows.half[half] += value;
    }
}

// The first `width` of 16 rows, to memory.
INLINE void put(int16_t* to, const Rows& rows, int64_t width) {
    if (width == ROWS) return narrow(to, join(rows));
    for (int64_t i = 0; i < width; ++i) to[i] = row_of(rows, i);
}

INLINE void put(int32_t* to, const Rows& rows, int64_t width) {
    if (width == ROWS) return store(to, join(rows));
    for (int64_t i = 0; i < width; ++i) to[i] = row_of(rows, i);
}

INLINE void put(int64_t* to, const Rows& rows, int64_t width) {
#if defined(__AVX512F__)
    if (width == ROWS) {
        const __m512i even = (__m512i)rows.half[0], odd = (__m512i)rows.half[1];
        const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
        const __m512i second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
        store(to, _mm512_permutex2var_epi64(even, first, odd));
        return store(to + 8, _mm512_permutex2var_epi64(even, second, odd));
    }
#endif
    for (int64_t i = 0; i < width; ++i) to[i] = row_of(rows, i);
}

}  // namespace
}  // namespace lightmamba
