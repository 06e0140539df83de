// Between the state and out_proj: y * silu(z) and the norm weight. Source: numerics/gate.py.
#pragma once
#include "../../native/arithmetic.hpp"
#include "../../native/quantize.hpp"
#include "../../native/silu.hpp"

namespace lightmamba {
namespace {

// One head of one vector: g, g times the norm weight, and the sum of the squares of g.
APART void gate_item(const Mamba2& k, const Work& w, const Mamba2Work& own, int64_t v, int64_t head) {
    const int64_t begin = head * k.headdim;
    const int16_t* z = w.rows + v * k.in_rows + begin;
    const int32_t *y = own.y + v * k.d_inner + begin, *weight = k.gate_weight + begin;
    int32_t *g = own.g + v * k.d_inner + begin, *weighted = w.weighted + v * k.d_inner + begin;
    const i64x8 low = all64(-LARGEST24 - 1), high = all64(LARGEST24);
    i64x8 lost = {}, total = {};
    int64_t c = 0;
    for (; c + 16 <= k.headdim; c += 16) {
        const i32x16 soft = silu(*k.tables, widen(z + c), all(k.z_silu));
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
    for (; c < k.headdim; ++c) {
        const int64_t product = round_shift(y[c] * silu(*k.tables, z[c], k.z_silu), k.gate);
        const int64_t kept = saturate(product, -LARGEST24 - 1, LARGEST24);
        const int64_t scaled = round_shift(kept * weight[c], k.weighted);
        const int64_t value = saturate(scaled, -LARGEST24 - 1, LARGEST24);
        bad += (kept != product) + (value != scaled);
        squares += kept * kept;
        g[c] = kept;
        weighted[c] = value;
    }
    own.squares[v * k.nheads + head] = squares;
    add_lost(w.lost_of(v), LOST_GATE, bad);
}

// 1/rms of each norm group of one vector, from the heads' sums of squares.
INLINE void gate_rms(const Mamba2& k, const Work& w, const Mamba2Work& own, int64_t v) {
    const int64_t heads = k.nheads / k.ngroups;
    for (int64_t group = 0; group < k.ngroups; ++group) {
        int64_t total = k.eps_gate;
        for (int64_t h = 0; h < heads; ++h) total += own.squares[v * k.nheads + group * heads + h];
        const int64_t at = v * k.ngroups + group;
        reciprocal_root(*k.tables, total, w.out_rms + at, w.out_rms_shift + at);
    }
}

}  // namespace
}  // namespace lightmamba
