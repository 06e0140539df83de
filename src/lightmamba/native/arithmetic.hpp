// The words of numerics/primitives.py, for single numbers and for vectors of 16 or 8 lanes.
// Vectors are the compiler's own (vector_size): one source for AVX-512, AVX2 and anything else.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))  // large: one copy is enough

namespace lightmamba {
namespace {

typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int16_t i16x16 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int64_t i64x4 __attribute__((vector_size(32)));
typedef int64_t i64x8 __attribute__((vector_size(64)));

template <class V>
INLINE V load(const void* at) {
    V v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

template <class V>
INLINE void store(void* at, V v) {
    std::memcpy(at, &v, sizeof v);
}

// Fetch the bytes that lie AHEAD of those at hand, of memory that is read in one direction.
constexpr int64_t AHEAD = 8192;
INLINE void prefetch(const void* at, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char*)at + AHEAD + i);
}

#if defined(__AVX2__)
INLINE i32x16 both(__m256i low, __m256i high) {
    i32x16 out;
    store(&out, low);
    store((char*)&out + 32, high);
    return out;
}
#endif

// 16 numbers from memory to 32 bits. (GCC's own conversions go byte by byte here.)
INLINE i32x16 widen(const int8_t* at) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_cvtepi8_epi32(load<__m128i>(at));
#elif defined(__AVX2__)
    const __m128i v = load<__m128i>(at);
    return both(_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)));
#else
    return __builtin_convertvector(load<i8x16>(at), i32x16);
#endif
}

INLINE i32x16 widen(const uint8_t* at) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_cvtepu8_epi32(load<__m128i>(at));
#elif defined(__AVX2__)
    const __m128i v = load<__m128i>(at);
    return both(_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)));
#else
    return __builtin_convertvector(load<u8x16>(at), i32x16);
#endif
}

INLINE i32x16 widen(const int16_t* at) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_cvtepi16_epi32(load<__m256i>(at));
#elif defined(__AVX2__)
    return both(_mm256_cvtepi16_epi32(load<__m128i>(at)), _mm256_cvtepi16_epi32(load<__m128i>(at + 8)));
#else
    return __builtin_convertvector(load<i16x16>(at), i32x16);
#endif
}

// 8 numbers from memory to 64 bits.
INLINE i64x8 widen64(const int32_t* at) {
#if defined(__AVX512F__)
    return (i64x8)_mm512_cvtepi32_epi64(load<__m256i>(at));
#elif defined(__AVX2__)
    i64x8 out;
    store(&out, _mm256_cvtepi32_epi64(load<__m128i>(at)));
    store((char*)&out + 32, _mm256_cvtepi32_epi64(load<__m128i>(at + 4)));
    return out;
#else
    return __builtin_convertvector(load<i32x8>(at), i64x8);
#endif
}

// Numbers that fit the narrower type, to memory.
INLINE void narrow(int8_t* to, i32x16 v) {
#if defined(__AVX512F__)
    store(to, _mm512_cvtepi32_epi8((__m512i)v));
#else
    for (int i = 0; i < 16; ++i) to[i] = v[i];
#endif
}

INLINE void narrow(int16_t* to, i32x16 v) {
#if defined(__AVX512F__)
    store(to, _mm512_cvtepi32_epi16((__m512i)v));
#else
    for (int i = 0; i < 16; ++i) to[i] = v[i];
#endif
}

INLINE void narrow(int32_t* to, i64x8 v) {
#if defined(__AVX512F__)
    store(to, _mm512_cvtepi64_epi32((__m512i)v));
#else
    for (int i = 0; i < 8; ++i) to[i] = v[i];
#endif
}

INLINE void narrow(int8_t* to, i64x8 v) {
#if defined(__AVX512F__)
    _mm_storel_epi64((__m128i*)to, _mm512_cvtepi64_epi8((__m512i)v));
#else
    for (int i = 0; i < 8; ++i) to[i] = v[i];
#endif
}

INLINE i32x16 all(int32_t x) { return i32x16{} + x; }
INLINE i64x8 all64(int64_t x) { return i64x8{} + x; }

// Eight of sixteen lanes, in 64 bits.
INLINE i64x8 lower(i32x16 v) {
#if defined(__AVX512F__)
    return (i64x8)_mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)v));
#else
    return widen64((const int32_t*)&v);
#endif
}

INLINE i64x8 upper(i32x16 v) {
#if defined(__AVX512F__)
    return (i64x8)_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)v, 1));
#else
    return widen64((const int32_t*)&v + 8);
#endif
}

// Divide by 2^shift, rounding half up; a negative shift multiplies. -62 <= shift <= 62.
INLINE int64_t round_shift(int64_t x, int64_t shift) {
    return shift >= 0 ? (x + ((int64_t(1) << shift) >> 1)) >> shift : x << -shift;
}

INLINE i64x8 round_shift(i64x8 x, int64_t shift) {
    return shift >= 0 ? (x + ((int64_t(1) << shift) >> 1)) >> shift : x << -shift;
}

// The same with a shift per lane, 0 to 62.
INLINE i64x8 round_right(i64x8 x, i64x8 shift) { return (x + ((all64(1) << shift) >> 1)) >> shift; }

INLINE int64_t saturate(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

template <class V>
INLINE V clamp(V x, V low, V high) {
#if defined(__AVX512F__)
    if constexpr (sizeof(x[0]) == 8) {
        return (V)_mm512_min_epi64(_mm512_max_epi64((__m512i)x, (__m512i)low), (__m512i)high);
    } else if constexpr (sizeof(x) == 64 && sizeof(x[0]) == 4) {
        return (V)_mm512_min_epi32(_mm512_max_epi32((__m512i)x, (__m512i)low), (__m512i)high);
    }
#endif
    x = x < low ? low : x;
    return x > high ? high : x;
}

INLINE int bit_length(uint64_t x) { return x == 0 ? 0 : 64 - __builtin_clzll(x); }

INLINE i32x16 bit_length(i32x16 x) {
#if defined(__AVX512CD__)
    return 32 - (i32x16)_mm512_lzcnt_epi32((__m512i)x);
#else
    i32x16 out;
    for (int i = 0; i < 16; ++i) out[i] = bit_length(uint64_t(uint32_t(x[i])));
    return out;
#endif
}

// Logical right shift by 0 to 32, where 32 gives 0.
INLINE i32x16 shift_out(i32x16 x, i32x16 by) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_srlv_epi32((__m512i)x, (__m512i)by);
#elif defined(__AVX2__)
    i32x16 out;
    for (int half = 0; half < 2; ++half) {
        const __m256i v = load<__m256i>((char*)&x + 32 * half);
        const __m256i s = load<__m256i>((char*)&by + 32 * half);
        store((char*)&out + 32 * half, _mm256_srlv_epi32(v, s));
    }
    return out;
#else
    const u32x16 once = (u32x16)x >> 1;
    return by == 0 ? x : (i32x16)(once >> (u32x16)((by - 1) & 31));
#endif
}

// Arithmetic right shift, lane by lane, by 0 to 31.
INLINE i32x16 shift_right(i32x16 x, i32x16 by) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_srav_epi32((__m512i)x, (__m512i)by);
#else
    return x >> by;
#endif
}

INLINE i32x16 shift_left(i32x16 x, i32x16 by) {
#if defined(__AVX512F__)
    return (i32x16)_mm512_sllv_epi32((__m512i)x, (__m512i)by);
#else
    return x << by;
#endif
}

INLINE int64_t sum(i64x8 v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_epi64((__m512i)v);
#else
    int64_t total = 0;
    for (int i = 0; i < 8; ++i) total += v[i];
    return total;
#endif
}

INLINE bool any(i32x16 mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
    int32_t seen = 0;
    for (int i = 0; i < 16; ++i) seen |= mask[i];
    return seen != 0;
#endif
}

// Value between two nodes, rounded half up.
INLINE int64_t interpolate(int64_t base, int64_t delta, int64_t fraction, int64_t bits) {
    return base + ((delta * fraction + ((int64_t(1) << bits) >> 1)) >> bits);
}

// Counts that items of several threads add up.
INLINE void add_lost(int64_t* lost, int kind, int64_t count) {
    if (count != 0) __atomic_fetch_add(lost + kind, count, __ATOMIC_RELAXED);
}

}  // namespace
}  // namespace lightmamba
