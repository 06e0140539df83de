// Between the state and out_proj: y * silu(z), the norm weight, the Hadamard transform.
// Source: numerics/gate.py, hadamard.py.
#pragma once
#include "arithmetic.hpp"
#include "front.hpp"
#include "quantize.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

// One head of one vector: g, g times the norm weight, and the sum of the squares of g.
APART void gate_item(const Model& m, const Layer& k, const Work& w, int64_t v, int64_t head) {
    const int64_t begin = head * m.headdim;
    const int16_t* z = w.rows + v * m.d_in_proj + begin;
    const int32_t *y = w.y + v * m.d_inner + begin, *weight = k.gate_weight + begin;
    int32_t *g = w.g + v * m.d_inner + begin, *weighted = w.weighted + v * m.d_inner + begin;
    const i64x8 low = all64(-LARGEST24 - 1), high = all64(LARGEST24);
    i64x8 lost = {}, total = {};
    int64_t c = 0;
    for (; c + 16 <= m.headdim; c += 16) {
        const i32x16 soft = silu(m.tables, widen(z + c), all(k.z_silu));
        const i32x16 ys = load<i32x16>(y + c), weights = load<i32x16>(weight + c);
        for (int half = 0; half < 2; ++half) {
            const auto part = [&](i32x16 x) { return half ? upper(x) : lower(x); };
            const i64x8 product = round_shift(part(ys) * part(soft), k.gate);
            const i64x8 kept = clamp(product, low, high);
            const i64x8 scaled = round_shift(kept * part(weights), k.weighted);
            const i64x8 value = clamp(scaled, low, high);
            lost -= (kept != product) + (value != scaled);
            total += kept * kept;
            narrow(g + c + 8 * half, kept);
            narrow(weighted + c + 8 * half, value);
        }
    }
    int64_t bad = sum(lost), squares = sum(total);
    for (; c < m.headdim; ++c) {
        const int64_t product = round_shift(y[c] * silu(m.tables, z[c], k.z_silu), k.gate);
        const int64_t kept = saturate(product, -LARGEST24 - 1, LARGEST24);
        const int64_t scaled = round_shift(kept * weight[c], k.weighted);
        const int64_t value = saturate(scaled, -LARGEST24 - 1, LARGEST24);
        bad += (kept != product) + (value != scaled);
        squares += kept * kept;
        g[c] = kept;
        weighted[c] = value;
    }
    w.squares[v * m.nheads + head] = squares;
    add_lost(w.lost, LOST_GATE, bad);
}

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
APART void hadamard_plain(const Model& m, int64_t* line, int64_t padded) {
    const int64_t power = m.transform, count = m.core_order, order = power * count;
    for (int64_t half = 1; half < power; half *= 2) {
        for (int64_t start = 0; start < padded; start += 2 * half) {
            for (int64_t i = start; i < start + half; ++i) {
                const int64_t first = line[i], second = line[i + half];
                line[i] = first + second;
                line[i + half] = first - second;
            }
        }
    }
    if (count == 1) return;
    int64_t column[1024];
    for (int64_t start = 0; start < padded; start += order) {
        for (int64_t i = start; i < start + power; ++i) {
            for (int64_t c = 0; c < count; ++c) column[c] = line[i + c * power];
            for (int64_t r = 0; r < count; ++r) {
                int64_t mixed = 0;
                for (int64_t c = 0; c < count; ++c) mixed += m.core[r * count + c] * column[c];
                line[i + r * power] = mixed;
            }
        }
    }
}

// The transform of one norm group of one vector, rounded and saturated.
APART void hadamard_item(
    const Model& m, const Layer& k, const Work& w, int64_t v, int64_t group, int64_t* line
) {
    const int64_t size = m.group_dim, padded = m.padded_group, shift = k.hadamard;
    const int32_t* from = w.weighted + v * m.d_inner + group * size;
    int32_t* to = w.mixed + (v * m.ngroups + group) * padded;
    if (m.transform == 128 && m.core_order == 1) {
        std::memcpy(to, from, size * 4);
        std::memset(to + size, 0, (padded - size) * 4);
        for (int64_t i = 0; i < padded; i += 128) hadamard128(to + i);
        if (shift == 0) return;
        for (int64_t i = 0; i < padded; ++i) to[i] = (to[i] >> shift) + ((to[i] >> (shift - 1)) & 1);
        return;
    }
    for (int64_t i = 0; i < padded; ++i) line[i] = i < size ? from[i] : 0;
    hadamard_plain(m, line, padded);
    int64_t lost = 0;
    for (int64_t i = 0; i < padded; ++i) {
        const int64_t wide = round_shift(line[i], shift);
        to[i] = saturate(wide, -LARGEST31 - 1, LARGEST31);
        lost += to[i] != wide;
    }
    add_lost(w.lost, LOST_HADAMARD, lost);
}

// 1/rms of each norm group of one vector, from the heads' sums of squares.
INLINE void gate_rms(const Model& m, const Layer& k, const Work& w, int64_t v) {
    const int64_t heads = m.nheads / m.ngroups;
    for (int64_t group = 0; group < m.ngroups; ++group) {
        int64_t total = k.eps_gate;
        for (int64_t h = 0; h < heads; ++h) total += w.squares[v * m.nheads + group * heads + h];
        const int64_t at = v * m.ngroups + group;
        reciprocal_root(m.tables, total, w.out_rms + at, w.out_rms_shift + at);
    }
}

}  // namespace
}  // namespace lightmamba
