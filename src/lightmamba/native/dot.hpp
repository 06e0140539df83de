// The dot product of 32 channels of 16 rows with one vector, per instruction set.
//
// Weights come from panels, repacked once: by tile of 16 rows, by step of 32 channels, by row, so that
// a 64-byte load holds 4 neighbouring channels of 16 rows (8 bits), or 8 of them (4 bits: the first
// four in the low nibbles). They are kept without sign, w + 8 or w + 128.
#pragma once
#include "arithmetic.hpp"
#include "quantize.hpp"

namespace lightmamba {
namespace {

constexpr int ROWS = 16;
constexpr int STEP_BYTES4 = ROWS * STEP / 2, STEP_BYTES8 = ROWS * STEP;

#if defined(__AVX512VNNI__)
typedef __m512i Words;  // 4 channels of 16 rows, bytes without sign

INLINE void unpack4(const uint8_t* at, Words out[8]) {
    const __m512i low = _mm512_set1_epi8(15);
    for (int i = 0; i < 4; ++i) {
        const __m512i both = _mm512_loadu_si512(at + 64 * i);
        out[2 * i] = _mm512_and_si512(both, low);
        out[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
}

INLINE void unpack8(const uint8_t* at, Words out[8]) {
    for (int i = 0; i < 8; ++i) out[i] = _mm512_loadu_si512(at + 64 * i);
}

template <int BITS>
INLINE i32x16 dot(const Words w[8], const int8_t* a) {
    __m512i first = _mm512_setzero_si512(), second = first;
    for (int i = 0; i < 8; i += 2) {
        first = _mm512_dpbusd_epi32(first, w[i], _mm512_set1_epi32(load<int32_t>(a + 4 * i)));
        second = _mm512_dpbusd_epi32(second, w[i + 1], _mm512_set1_epi32(load<int32_t>(a + 4 * i + 4)));
    }
    return (i32x16)_mm512_add_epi32(first, second);
}
#elif defined(__AVX2__)
struct Words {
    __m256i half[2];
};

INLINE void unpack4(const uint8_t* at, Words out[8]) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int i = 0; i < 8; ++i) {
        const __m256i both = load<__m256i>(at + 32 * i);
        out[i / 2 * 2].half[i % 2] = _mm256_and_si256(both, low);
        out[i / 2 * 2 + 1].half[i % 2] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
}

INLINE void unpack8(const uint8_t* at, Words out[8]) {
    for (int i = 0; i < 16; ++i) out[i / 2].half[i % 2] = load<__m256i>(at + 32 * i);
}

// Bytes up to 15: eight products of at most 15 * 128 in each 16-bit sum of pairs, below 2^15.
INLINE __m256i dot_half(const Words w[8], const int8_t* a, int half, bool high, __m256i low) {
    __m256i sums = _mm256_setzero_si256();
    for (int i = 0; i < 8; ++i) {
        __m256i u = w[i].half[half];
        if (high) u = _mm256_srli_epi16(u, 4);
        u = _mm256_and_si256(u, low);
        const __m256i both = _mm256_set1_epi32(load<int32_t>(a + 4 * i));
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(u, both));
    }
    return _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
}

template <int BITS>
INLINE i32x16 dot(const Words w[8], const int8_t* a) {
    const __m256i low = _mm256_set1_epi8(BITS == 4 ? -1 : 15);
    i32x16 out;
    for (int half = 0; half < 2; ++half) {
        __m256i sums = dot_half(w, a, half, false, low);
        if (BITS == 8) {
            const __m256i high = dot_half(w, a, half, true, low);
            sums = _mm256_add_epi32(sums, _mm256_slli_epi32(high, 4));
        }
        store((char*)&out + 32 * half, sums);
    }
    return out;
}
#elif defined(__ARM_FEATURE_DOTPROD)
struct Words {
    uint8x16_t quarter[4];  // of four rows each
};

INLINE void unpack4(const uint8_t* at, Words out[8]) {
    for (int i = 0; i < 16; ++i) {
        const uint8x16_t both = vld1q_u8(at + 16 * i);
        out[i / 4 * 2].quarter[i % 4] = vandq_u8(both, vdupq_n_u8(15));
        out[i / 4 * 2 + 1].quarter[i % 4] = vshrq_n_u8(both, 4);
    }
}

INLINE void unpack8(const uint8_t* at, Words out[8]) {
    for (int i = 0; i < 32; ++i) out[i / 4].quarter[i % 4] = vld1q_u8(at + 16 * i);
}

// Bytes of 4 bits have no sign bit. Without products of bytes with and without sign, those of 8 bits
// lose their 128 first, and their sum gets it back.
template <int BITS>
INLINE i32x16 dot(const Words w[8], const int8_t* a) {
    int32x4_t sums[4] = {};
    for (int i = 0; i < 8; ++i) {
        const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(load<int32_t>(a + 4 * i)));
        for (int k = 0; k < 4; ++k) {
            const uint8x16_t u = w[i].quarter[k];
#if defined(__ARM_FEATURE_MATMUL_INT8)
            sums[k] = vusdotq_s32(sums[k], u, four);
#else
            const uint8x16_t less = BITS == 8 ? veorq_u8(u, vdupq_n_u8(128)) : u;
            sums[k] = vdotq_s32(sums[k], vreinterpretq_s8_u8(less), four);
#endif
        }
    }
    i32x16 out = load<i32x16>(sums);
#if !defined(__ARM_FEATURE_MATMUL_INT8)
    if (BITS == 8) {
        int32_t all = 0;
        for (int i = 0; i < STEP; ++i) all += a[i];
        out += 128 * all;
    }
#endif
    return out;
}
#else
struct Words {
    uint8_t bytes[64];
};

INLINE void unpack4(const uint8_t* at, Words out[8]) {
    for (int i = 0; i < 4; ++i) {
        for (int k = 0; k < 64; ++k) {
            out[2 * i].bytes[k] = at[64 * i + k] & 15;
            out[2 * i + 1].bytes[k] = at[64 * i + k] >> 4;
        }
    }
}

INLINE void unpack8(const uint8_t* at, Words out[8]) { std::memcpy(out, at, STEP_BYTES8); }

template <int BITS>
INLINE i32x16 dot(const Words w[8], const int8_t* a) {
    int32_t out[16] = {};
    for (int i = 0; i < 8; ++i) {
        for (int r = 0; r < ROWS; ++r) {
            int32_t sum = 0;
            for (int c = 0; c < 4; ++c) sum += int16_t(w[i].bytes[4 * r + c]) * int16_t(a[4 * i + c]);
            out[r] += sum;
        }
    }
    return load<i32x16>(out);
}
#endif

}  // namespace
}  // namespace lightmamba
