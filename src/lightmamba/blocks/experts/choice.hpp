// The choice of experts of one vector. Source: numerics/routing.py.
#pragma once
#include "../../native/exp2.hpp"
#include "../../native/quantize.hpp"
#include "../../native/silu.hpp"

namespace lightmamba {
namespace {

constexpr int64_t SCORE_BITS = 16, WEIGHT_BITS = 15;  // fractional bits
constexpr int64_t TO_SIGMOID = SCORE_BITS - 11;       // right shift of a score to the sigmoid's input

// Places of the `count` largest of n keys, ascending; of equal keys, the first. Changes the keys.
INLINE void largest(int64_t* keys, int64_t n, int64_t count, int32_t* places) {
    constexpr int64_t TAKEN = INT64_MIN;
    for (int64_t i = 0; i < count; ++i) {
        int64_t best = 0;
        for (int64_t e = 1; e < n; ++e) best = keys[e] > keys[best] ? e : best;
        keys[best] = TAKEN;
    }
    for (int64_t e = 0; e < n; ++e) {
        if (keys[e] == TAKEN) *places++ = e;
    }
}

// Values of 16 or 24 bits over their sum.
INLINE void shares(const Tables& t, const int64_t* values, int64_t n, int32_t* weights) {
    int64_t total = 0;
    for (int64_t i = 0; i < n; ++i) total += values[i];
    int32_t mantissa, j;
    reciprocal(t, total < 1 ? 1 : total, &mantissa, &j);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t share = round_shift(values[i] * mantissa, 31 - WEIGHT_BITS + j);
        weights[i] = share < 1 << WEIGHT_BITS ? share : 1 << WEIGHT_BITS;
    }
}

struct Choice {
    const Tables* tables;
    int64_t n_experts, top_k, softmax, normed;
    const int32_t* bias;  // (n_experts), or null

    // Experts and weights, (top_k), by the scores of all; `keys` is memory for n_experts.
    void operator()(const int32_t* scores, int32_t* experts, int32_t* weights, int64_t* keys) const {
        const Tables& t = *tables;
        for (int64_t e = 0; e < n_experts; ++e) {
            keys[e] = softmax ? scores[e] : sigmoid(t, scores[e], TO_SIGMOID) + (bias ? bias[e] : 0);
        }
        largest(keys, n_experts, top_k, experts);
        int64_t* values = keys;  // of the chosen ones
        int64_t best = INT64_MIN;
        for (int64_t i = 0; i < top_k; ++i) best = scores[experts[i]] > best ? scores[experts[i]] : best;
        for (int64_t i = 0; i < top_k; ++i) {
            const int64_t score = scores[experts[i]];
            values[i] = softmax ? exp2_below(t, (best - score) << (24 - SCORE_BITS)) : sigmoid(t, score, TO_SIGMOID);
        }
        if (softmax || normed) return shares(t, values, top_k, weights);
        for (int64_t i = 0; i < top_k; ++i) weights[i] = values[i] >> 1;
    }
};

}  // namespace
}  // namespace lightmamba
