// The phases of an attention mixer: keep keys and values, then attend. Source: numerics/attention.py.
#pragma once
#include "../../native/kernels.hpp"
#include "../../native/pow2.hpp"
#include "../../native/quantize.hpp"

namespace lightmamba {

LOSSES(attention.score, attention.mean)

SHARED(attention,

struct Attention {
    const Tables* tables;
    int64_t in_rows, n_heads, n_kv_heads, head_dim, block, blocks;  // blocks: of a head
    int64_t score, mean;  // right shifts: of a sum of products, of a mean of values
    int64_t k_at, k_exp_at, v_at, v_exp_at;  // bytes from the start of a page
};

)  // SHARED

namespace {

constexpr int64_t PAGE = 32;  // positions that are weighed against one maximum
constexpr int64_t LARGEST_SCORE = 0x7FFFFFFF;

// int8 and exponents of one head of one vector.
INLINE void head_blocks(const Attention& k, const int16_t* row, int8_t* q, int8_t* exponents) {
    pow2_blocks(row, k.head_dim, k.block, q, exponents);
}

// Keep the keys and values of one head of one slot.
APART void store_item(
    const Attention& k, const Work& w, const Sequences& states, const Slot& slot, int64_t head
) {
    const int64_t width = k.blocks * k.block, query = k.n_heads * k.head_dim;
    const int64_t kv = k.n_kv_heads * k.head_dim;
    for (int64_t t = 0; t < slot.count; ++t) {
        const int64_t position = states.position[slot.sequence] + t;
        char* page = states.page(slot.sequence, position / PAGE);
        const int64_t at = position % PAGE * k.n_kv_heads + head;
        const int16_t* row = w.rows + (slot.first + t) * k.in_rows + query + head * k.head_dim;
        head_blocks(k, row, (int8_t*)page + k.k_at + at * width, (int8_t*)page + k.k_exp_at + at * k.blocks);
        head_blocks(k, row + kv, (int8_t*)page + k.v_at + at * width, (int8_t*)page + k.v_exp_at + at * k.blocks);
    }
}

// Sum of products of two blocks.
INLINE int32_t block_dot(const int8_t* a, const int8_t* b, int64_t n) {
    int32_t total = 0;
    for (int64_t i = 0; i < n; ++i) total += int32_t(a[i]) * b[i];
    return total;
}

// Weight of a position whose score lies `below` 2^-16 under the next whole number: 24 bits.
INLINE int64_t weight_of(const Tables& t, int64_t below) {
    constexpr int64_t TOP = (int64_t(32) << 24) - 1, ONE = (1 << 24) - 1;
    const int64_t power = below < TOP >> 8 ? below << 8 : TOP;
    const int64_t segment = (power & ONE) >> t.exp2_bits, rest = power & ((1 << t.exp2_bits) - 1);
    const int64_t value = interpolate(t.exp2_base[segment], t.exp2_delta[segment], rest, t.exp2_bits);
    return saturate(round_shift(value, power >> 24), 0, ONE);
}

INLINE int64_t clamp62(int64_t shift) { return shift < 62 ? shift : 62; }

// One head of one vector over all positions up to its own; `space` holds q, exponents and sums.
APART void attend_item(
    const Attention& k, const Work& w, const Sequences& states, const Slot& slot, int64_t t,
    int64_t head, char* space
) {
    const int64_t width = k.blocks * k.block, v = slot.first + t;
    const int64_t kv_head = head / (k.n_heads / k.n_kv_heads);
    const int64_t end = states.position[slot.sequence] + t + 1;
    int64_t* total = (int64_t*)space;
    int8_t *q = (int8_t*)(total + width), *q_exp = q + width;
    head_blocks(k, w.rows + v * k.in_rows + head * k.head_dim, q, q_exp);
    for (int64_t c = 0; c < width; ++c) total[c] = 0;
    int64_t weights = 0, largest = 0, lost_score = 0, lost_mean = 0;
    for (int64_t start = 0; start < end; start += PAGE) {
        const int64_t count = end - start < PAGE ? end - start : PAGE;
        const char* page = states.page(slot.sequence, start / PAGE);
        int64_t scores[PAGE], top = -LARGEST_SCORE;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t at = i * k.n_kv_heads + kv_head;
            const int8_t* key = (const int8_t*)page + k.k_at + at * width;
            const int8_t* exponents = (const int8_t*)page + k.k_exp_at + at * k.blocks;
            int64_t sum = 0;
            for (int64_t b = 0; b < k.blocks; ++b) {
                const int64_t dot = k.block == 32 ? block_dot(q + 32 * b, key + 32 * b, 32)
                                                  : block_dot(q + k.block * b, key + k.block * b, k.block);
                sum += dot << (q_exp[b] + exponents[b]);
            }
            const int64_t wide = round_shift(sum, k.score);
            scores[i] = saturate(wide, -LARGEST_SCORE, LARGEST_SCORE);
            lost_score += scores[i] != wide;
            top = top < scores[i] ? scores[i] : top;
        }
        const int64_t now = start && (top >> 16) < largest ? largest : top >> 16;
        if (start && now > largest) {
            const int64_t fall = clamp62(now - largest);
            for (int64_t c = 0; c < width; ++c) total[c] = round_shift(total[c], fall);
            weights = round_shift(weights, fall);
        }
        largest = now;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t weight = weight_of(*k.tables, ((now + 1) << 16) - scores[i]);
            weights += weight;
            if (weight == 0) continue;
            const int64_t at = i * k.n_kv_heads + kv_head;
            const int8_t* value = (const int8_t*)page + k.v_at + at * width;
            const int8_t* exponents = (const int8_t*)page + k.v_exp_at + at * k.blocks;
            for (int64_t b = 0; b < k.blocks; ++b) {
                const int64_t scale = exponents[b], first = b * k.block;
                const int32_t factor = weight;  // times int8: 31 bits
                for (int64_t c = first; c < first + k.block; ++c) {
                    total[c] += int64_t(factor * int32_t(value[c])) << scale;
                }
            }
        }
    }
    int32_t mantissa, j;
    reciprocal(*k.tables, weights, &mantissa, &j);
    int32_t* out = w.weighted + (v * k.n_heads + head) * k.head_dim;
    for (int64_t c = 0; c < k.head_dim; ++c) {
        const int64_t wide = round_shift(total[c], j < 0 ? 0 : j);
        const int64_t mean = round_shift(wide * mantissa, 31 + k.mean);
        out[c] = saturate(mean, -LARGEST24 - 1, LARGEST24);
        lost_mean += out[c] != mean;
    }
    add_lost(w.lost_of(v), LOST_ATTENTION_SCORE, lost_score);
    add_lost(w.lost_of(v), LOST_ATTENTION_MEAN, lost_mean);
}

struct AttentionPhases {
    enum { STORE, ATTEND, IN_A_PASS };

    static int64_t items(const Job& job, int phase) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        return phase == STORE ? job.n_slots * k.n_kv_heads : job.work->vectors * k.n_heads;
    }

    static int64_t scratch(const Job& job, int64_t) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        return k.blocks * (k.block * 9 + 1) + 64;
    }

    static void item(const Job& job, int phase, int64_t i, void* space) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        if (phase == STORE) {
            const Slot& slot = job.slots[i / k.n_kv_heads];
            return store_item(k, *job.work, *job.states, slot, i % k.n_kv_heads);
        }
        const int64_t v = i / k.n_heads;
        const Slot* slot = job.slots;
        while (v < slot->first || v >= slot->first + slot->count) ++slot;
        attend_item(k, *job.work, *job.states, *slot, v - slot->first, i % k.n_heads, (char*)space);
    }

    static void rms(const Job& job, int64_t v) { unit_rms(*job.work, 1, v); }
};

}  // namespace
}  // namespace lightmamba
