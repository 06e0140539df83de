// Root mean squares, dynamic block quantization, and inputs of projections as their kernels take
// them. Source of the arithmetic: numerics/blocks.py, numerics/linear.py (RmsNorm), tables.py.
#pragma once
#include "arithmetic.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

constexpr int64_t LARGEST24 = (1 << 23) - 1, LARGEST31 = 0x7FFFFFFF;
constexpr int MAX_CODE = 63;
constexpr int64_t RECIPROCAL[4] = {65536, 52429, 43691, 37449};  // of (4 + m) / 4, times 2^16
constexpr int STEP = 32;  // channels per scale in the kernels of project.hpp

// Mantissa and j of the reciprocal root of `total`, which is positive.
INLINE void reciprocal_root(const Tables& tables, int64_t total, int32_t* mantissa, int32_t* j) {
    const int64_t exponent = ((bit_length(total) + 1) >> 1) - 8;
    const int64_t f = exponent < 0 ? total << (-2 * exponent) : total >> (2 * exponent);
    const int64_t offset = f - (1 << 14), bits = tables.rsqrt_bits;
    const uint32_t node = tables.rsqrt[offset >> bits];
    const int64_t delta = -int64_t(node & 0xFFFF);
    *mantissa = interpolate(node >> 16, delta, offset & ((1 << bits) - 1), bits);
    *j = exponent;
}

// Mantissa and j of the reciprocal of `total`, which is positive.
INLINE void reciprocal(const Tables& tables, int64_t total, int32_t* mantissa, int32_t* j) {
    const int64_t exponent = bit_length(total) - 16;
    const int64_t f = exponent < 0 ? total << -exponent : total >> exponent;
    const int64_t offset = f - (1 << 15), bits = tables.reciprocal_bits;
    const uint32_t node = tables.reciprocal[offset >> bits];
    const int64_t delta = -int64_t(node & 0xFFFF);
    *mantissa = interpolate(node >> 16, delta, offset & ((1 << bits) - 1), bits);
    *j = exponent;
}

// A 1/rms of one (numerics/linear.py: UNIT), for kinds without a norm in front of out_proj.
INLINE void unit_rms(const Work& w, int64_t groups, int64_t v) {
    for (int64_t i = v * groups; i < (v + 1) * groups; ++i) {
        w.out_rms[i] = 1 << 15;
        w.out_rms_shift[i] = -7;
    }
}

// Sum of squares of n values, each rounded to int24 first.
APART int64_t squares(const int32_t* x, int64_t n, int64_t shift) {
    i64x8 total = {};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const i64x8 wide = round_shift(widen64(x + i), shift);
        const i64x8 kept = clamp(wide, all64(-LARGEST24 - 1), all64(LARGEST24));
        total += kept * kept;
    }
    int64_t out = sum(total);
    for (; i < n; ++i) {
        const int64_t kept = saturate(round_shift(int64_t(x[i]), shift), -LARGEST24 - 1, LARGEST24);
        out += kept * kept;
    }
    return out;
}

// Scale code of a block of this largest magnitude, 0 to 63; *wanted is the index before clamping.
INLINE int scale_code(const Blocks& f, uint64_t largest, int64_t* wanted) {
    const int k = bit_length(largest);
    const int64_t n = largest << (32 - k);
    int64_t index = 4 * k + f.offset - 4 * f.base;
    for (int i = 0; i < 4; ++i) index += n >= f.threshold[i];
    *wanted = index;
    return saturate(index, 0, MAX_CODE);
}

// Quantize n values, zero-padded to `channels`; counts what was clipped and what clamped.
APART void quantize(
    const Blocks& f, const int32_t* x, int64_t n, int64_t channels, int8_t* q, uint8_t* code,
    int64_t* clipped, int64_t* clamped
) {
    for (int64_t start = 0; start < channels; start += f.block, ++code) {
        const int64_t stop = start + f.block < n ? start + f.block : n;
        uint32_t largest = 0;
        for (int64_t i = start; i < stop; ++i) {
            const uint32_t size = x[i] < 0 ? 0u - uint32_t(x[i]) : uint32_t(x[i]);
            largest = largest < size ? size : largest;
        }
        *code = 0;
        if (largest == 0) {
            std::memset(q + start, 0, f.block);
            continue;
        }
        int64_t wanted;
        *code = scale_code(f, largest, &wanted);
        *clamped += *code != wanted;
        const int64_t reciprocal = RECIPROCAL[*code & 3], shift = (*code >> 2) + f.base + 16;
        int64_t i = start;
        i64x8 different = {};
        for (; i + 8 <= stop; i += 8) {
            const i64x8 wide = round_shift(widen64(x + i) * reciprocal, shift);
            const i64x8 kept = clamp(wide, all64(f.qmin), all64(f.qmax));
            different -= kept != wide;
            narrow(q + i, kept);
        }
        *clipped += sum(different);
        for (; i < stop; ++i) {
            const int64_t wide = round_shift(x[i] * reciprocal, shift);
            q[i] = saturate(wide, f.qmin, f.qmax);
            *clipped += q[i] != wide;
        }
        for (i = i < start ? start : i; i < start + f.block; ++i) q[i] = 0;
    }
}

typedef int8_t i8x32 __attribute__((vector_size(32)));

// Sum of 32 numbers.
INLINE int32_t sum(i8x32 q) {
#if defined(__AVX2__)
    const __m256i sums = _mm256_sad_epu8((__m256i)(q ^ int8_t(-128)), __m256i{});
    return int32_t(sums[0] + sums[1] + sums[2] + sums[3]) - 32 * 128;
#else
    int32_t total = 0;
    for (int i = 0; i < 32; ++i) total += q[i];
    return total;
#endif
}

INLINE bool some(i8x32 q) {
    const auto parts = (i64x4)q;
    return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

// The panel of vector v, from its integers and codes.
APART void make_panel(
    const Linear& linear, const int8_t* q, const uint8_t* code, const Panel& panel, int64_t v
) {
    const int64_t channels = linear.channels, steps = channels / STEP;
    const int64_t per_code = linear.act.block / STEP, per_group = linear.group / STEP;
    const bool narrow = linear.act_bits == 4;
    const int32_t offset = linear.bits == 4 ? 8 : 128;
    int8_t* a = panel.a + v * channels;
    int32_t* scale = panel.scale + v * steps;  // sums of the steps at first
    int32_t* correction = panel.correction + v * (channels / linear.group);
    int64_t low = 15, high = 0;
    for (int64_t s = 0; s < steps; ++s) {
        const i8x32 x = load<i8x32>(q + s * STEP), twice = x + x;
        const int8_t m = code[s / per_code] & 3, one = -(m & 1), two = -(m >> 1);
        const i8x32 times = twice + twice + (x & one) + (twice & two);
        store(a + s * STEP, narrow ? times : x);  // times 4 + m
        scale[s] = sum(x);
        const int64_t e = some(x) ? code[s / per_code] >> 2 : -1;
        low = e >= 0 && e < low ? e : low;
        high = e > high ? e : high;
    }
    panel.low[v] = high - low <= linear.span ? (high < low ? 0 : low) : -1;
    const int64_t least = panel.low[v] < 0 ? 0 : panel.low[v];
    for (int64_t g = 0; g < channels / linear.group; ++g) {
        int32_t total = 0;
        for (int64_t s = g * per_group; s < (g + 1) * per_group; ++s) {
            const int32_t factor = 4 + (code[s / per_code] & 3), sum = scale[s];
            const int64_t e = (code[s / per_code] >> 2) - least;
            if (e < 0) {  // a block of zeros, whose scale means nothing
                scale[s] = narrow ? 0 : 1;
            } else {
                scale[s] = narrow ? int32_t(e) : factor << e;
                total += (factor * sum) << e;
            }
        }
        correction[g] = -offset * total;
    }
}

// Embedding rows to the residual stream.
APART void embed(const Model& m, const Work& w, int64_t v) {
    const int64_t id = w.ids[v], channels = m.embedding_channels;
    const int8_t* q = m.embedding + id * channels;
    const uint8_t* code = m.embedding_code + id * (channels / m.embedding_group);
    int64_t lost = 0;
    for (int64_t i = 0; i < m.d_model; ++i) {
        const int c = code[i / m.embedding_group];
        const int64_t wide = round_shift(q[i] * (int64_t(32 + (c & 31)) << (c >> 5)), m.embedding_shift);
        const int64_t kept = saturate(wide, -LARGEST31 - 1, LARGEST31);
        lost += kept != wide;
        w.u[v * m.d_model + i] = kept;
    }
    add_lost(w.lost_of(v), LOST_EMBEDDING, lost);
}

// Add a layer's output to the residual stream.
APART void add_residual(const Model& m, const Work& w, int64_t v) {
    int32_t* u = w.u + v * m.d_model;
    const int64_t* rows = w.out_rows + v * m.d_model;
    int64_t lost = 0;
    for (int64_t i = 0; i < m.d_model; ++i) {
        const int64_t total = u[i] + rows[i];
        const int64_t kept = saturate(total, -LARGEST31 - 1, LARGEST31);
        lost += kept != total;
        u[i] = kept;
    }
    add_lost(w.lost_of(v), LOST_RESIDUAL, lost);
}

// 1/rms of the residual stream, and its integers for a projection: item `to` from vector `from`.
INLINE void normalize(
    const Model& m, const Linear& linear, const Work& w, int64_t from, int64_t to, int32_t* rms,
    int32_t* rms_shift, int8_t* q, uint8_t* code, int lost_scale
) {
    const int32_t* u = w.u + from * m.d_model;
    reciprocal_root(m.tables, squares(u, m.d_model, m.rms_shift) + m.eps, rms + to, rms_shift + to);
    q += to * linear.channels;
    code += to * (linear.channels / linear.act.block);
    int64_t clipped = 0, clamped = 0;
    quantize(linear.act, u, m.d_model, linear.channels, q, code, &clipped, &clamped);
    if (linear.panels) make_panel(linear, q, code, w.panel, to);
    add_lost(w.lost_of(from), LOST_CLIPPED, clipped);
    add_lost(w.lost_of(from), lost_scale, clamped);
}

}  // namespace
}  // namespace lightmamba
