// Vectors of pairs of numbers of 16 bits, as wide as the processor has them: a pair shares a lane
// of 32 bits.
#pragma once
#include "arithmetic.hpp"

namespace lightmamba {
namespace {

#if defined(__AVX512BW__)
constexpr int PAIRS = 16;  // of a vector
#elif defined(__AVX2__)
constexpr int PAIRS = 8;
#else
constexpr int PAIRS = 4;
#endif
constexpr int PARTS = 16 / PAIRS;  // vectors of 16 pairs

typedef int8_t bytes_of __attribute__((vector_size(4 * PAIRS)));
typedef int16_t pairs_of __attribute__((vector_size(4 * PAIRS)));
typedef int32_t lanes_of __attribute__((vector_size(4 * PAIRS)));

INLINE pairs_of all16(int16_t x) { return pairs_of{} + x; }

// (a * b + 2^14) >> 15, for factors that are not both -2^15.
INLINE pairs_of multiply_high(pairs_of a, pairs_of b) {
#if defined(__AVX512BW__)
    return (pairs_of)_mm512_mulhrs_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (pairs_of)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b);
#else
    pairs_of out;
    for (int i = 0; i < 2 * PAIRS; ++i) out[i] = (a[i] * b[i] + (1 << 14)) >> 15;
    return out;
#endif
}

INLINE pairs_of add_saturated(pairs_of a, pairs_of b) {
#if defined(__AVX512BW__)
    return (pairs_of)_mm512_adds_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (pairs_of)_mm256_adds_epi16((__m256i)a, (__m256i)b);
#else
    const pairs_of sum = a + b, wrapped = (a ^ sum) & (b ^ sum);
    return wrapped < 0 ? (sum >> 15) ^ all16(-32768) : sum;
#endif
}

INLINE pairs_of larger(pairs_of a, pairs_of b) {
#if defined(__AVX512BW__)
    return (pairs_of)_mm512_max_epi16((__m512i)a, (__m512i)b);
#else
    return a > b ? a : b;
#endif
}

INLINE pairs_of smaller(pairs_of a, pairs_of b) {
#if defined(__AVX512BW__)
    return (pairs_of)_mm512_min_epi16((__m512i)a, (__m512i)b);
#else
    return a < b ? a : b;
#endif
}

// acc + the sum of each pair of products.
INLINE lanes_of add_products(lanes_of acc, pairs_of a, pairs_of b) {
#if defined(__AVX512VNNI__)
    return (lanes_of)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return acc + (lanes_of)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
    const lanes_of x = (lanes_of)a, y = (lanes_of)b;
    return acc + (x << 16 >> 16) * (y << 16 >> 16) + (x >> 16) * (y >> 16);
#endif
}

// The low half of each lane of 32 bits, in both numbers of its pair.
INLINE i32x16 twice(i32x16 x) { return (x & 0xFFFF) | x << 16; }

// One pair in all lanes.
INLINE pairs_of all_pairs(int32_t pair) { return (pairs_of)(lanes_of{} + pair); }

// One of the vectors that 16 lanes are.
INLINE pairs_of part(const i32x16& lanes, int n) { return load<pairs_of>((const char*)&lanes + 4 * PAIRS * n); }
template <class V>
INLINE void put_part(i32x16& lanes, int n, V value) { store((char*)&lanes + 4 * PAIRS * n, value); }

// Rows of a column of 16 bytes, and those of the next one, as pairs.
INLINE pairs_of load_columns(const int8_t* at) {
#if defined(__AVX512BW__)
    const __m128i first = load<__m128i>(at), second = load<__m128i>(at + 16);
    const __m128i low = _mm_unpacklo_epi8(first, second), high = _mm_unpackhi_epi8(first, second);
    return (pairs_of)_mm512_cvtepi8_epi16(_mm256_set_m128i(high, low));
#elif defined(__AVX2__)
    const __m128i first = _mm_loadl_epi64((const __m128i*)at), second = _mm_loadl_epi64((const __m128i*)(at + 16));
    return (pairs_of)_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
#else
    pairs_of out;
    for (int i = 0; i < 2 * PAIRS; ++i) out[i] = at[i / 2 + 16 * (i % 2)];
    return out;
#endif
}

// The reverse, of numbers that fit int8.
INLINE void store_columns(int8_t* to, pairs_of q) {
#if defined(__AVX512BW__)
    const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const __m256i bytes = _mm256_shuffle_epi8(_mm512_cvtepi16_epi8((__m512i)q), apart);
    store(to, _mm256_permute4x64_epi64(bytes, 0xD8));
#elif defined(__AVX2__)
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 2, 6, 10, 14, -1, -1, -1, -1, -1, -1, -1, -1)
    );
    const __m256i bytes = _mm256_shuffle_epi8((__m256i)q, apart);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 2, 2, 2);
    const __m128i both = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes, order));
    _mm_storel_epi64((__m128i*)to, both);
    _mm_storel_epi64((__m128i*)(to + 16), _mm_unpackhi_epi64(both, both));
#else
    for (int i = 0; i < 2 * PAIRS; ++i) to[i / 2 + 16 * (i % 2)] = q[i];
#endif
}

}  // namespace
}  // namespace lightmamba
