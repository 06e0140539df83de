// The phases of an attention mixer: keep keys and values, then attend. Source: numerics/attention.py.
#pragma once
#include "../../native/kernels.hpp"
#include "../../native/pow2.hpp"
#include "query.hpp"

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

constexpr int64_t TOKENS = 4;  // of a sequence that share the panels of a page

// Keep the keys and values of one head of one slot.
APART void store_item(
    const Attention& k, const Work& w, const Sequences& states, const Slot& slot, int64_t head
) {
    const int64_t width = k.blocks * k.block, query = k.n_heads * k.head_dim;
    const int64_t kv = k.n_kv_heads * k.head_dim;
    for (int64_t t = 0; t < slot.count; ++t) {
        const int64_t position = states.position[slot.sequence] + t;
        int8_t* page = (int8_t*)states.page(slot.sequence, position / PAGE);
        const int64_t at = position % PAGE * k.n_kv_heads + head;
        const int16_t* row = w.rows + (slot.first + t) * k.in_rows + query + head * k.head_dim;
        pow2_blocks(row, k.head_dim, k.block, page + k.k_at + at * width, page + k.k_exp_at + at * k.blocks);
        pow2_blocks(row + kv, k.head_dim, k.block, page + k.v_at + at * width, page + k.v_exp_at + at * k.blocks);
    }
}

// Divide by the sum of the weights.
INLINE void finish_query(const Attention& k, const Work& w, const PagePanel& panel, const Query& query, int64_t v, int64_t head) {
    int64_t lost = 0;
    int32_t mantissa, j;
    reciprocal(*k.tables, query.weights, &mantissa, &j);
    int32_t* out = w.weighted + (v * k.n_heads + head) * k.head_dim;
    for (int64_t c = 0; c < k.head_dim; ++c) {
        const int64_t at = c / k.block * panel.tiles * ROWS + c % k.block;
        const int64_t wide = round_shift(query.total[at], j < 0 ? 0 : j);
        const int64_t mean = round_shift(wide * mantissa, 31 + k.mean);
        out[c] = saturate(mean, -LARGEST24 - 1, LARGEST24);
        lost += out[c] != mean;
    }
    add_lost(w.lost_of(v), LOST_ATTENTION_SCORE, query.lost_score);
    add_lost(w.lost_of(v), LOST_ATTENTION_MEAN, lost);
}

// All queries that share one head of keys and values, of up to TOKENS tokens of a slot from `t` on, over
// all positions up to their own.
APART void attend_item(
    const Attention& k, const Work& w, const Sequences& states, const Slot& slot, int64_t t, int64_t kv_head,
    char* space
) {
    const int64_t tokens = slot.count - t < TOKENS ? slot.count - t : TOKENS, group = k.n_heads / k.n_kv_heads;
    const int64_t begin = states.position[slot.sequence] + t, last = begin + tokens;
    PagePanel panel(k.blocks, k.block, space);
    Query* queries = (Query*)(space + panel.bytes);
    char* rest = (char*)queries + whole(tokens * group * sizeof(Query), 64);
    for (int64_t n = 0; n < tokens * group; ++n) {
        const int64_t v = slot.first + t + n / group, head = kv_head * group + n % group;
        queries[n] = Query(panel, rest);
        rest += queries[n].bytes;
        queries[n].begin(panel, w.rows + v * k.in_rows + head * k.head_dim, k.head_dim);
    }
    for (int64_t start = 0; start < last; start += PAGE) {
        const int8_t* page = (const int8_t*)states.page(slot.sequence, start / PAGE);
        const int64_t at = kv_head * k.blocks, width = k.blocks * k.block;
        const int64_t here = last - start < PAGE ? last - start : PAGE;
        for (int64_t i = 0; start + PAGE < last && i < PAGE; ++i) {
            const char* next = states.page(slot.sequence, start / PAGE + 1) + (i * k.n_kv_heads + kv_head) * width;
            for (int64_t c = 0; c < width; c += 64) {
                __builtin_prefetch(next + k.k_at + c);
                __builtin_prefetch(next + k.v_at + c);
            }
        }
        panel.fill(
            page + k.k_at + kv_head * width, page + k.k_exp_at + at, page + k.v_at + kv_head * width,
            page + k.v_exp_at + at, k.n_kv_heads * k.blocks, here
        );
        for (int64_t n = 0; n < tokens * group; ++n) {
            const int64_t left = begin + n / group + 1 - start, count = left < PAGE ? left : PAGE;
            if (count > 0) queries[n].page(panel, *k.tables, k.score, count, start == 0);
        }
    }
    for (int64_t n = 0; n < tokens * group; ++n) {
        finish_query(k, w, panel, queries[n], slot.first + t + n / group, kv_head * group + n % group);
    }
}

struct AttentionPhases {
    enum { STORE, ATTEND, IN_A_PASS };

    static int64_t runs(const Slot& slot) { return (slot.count + TOKENS - 1) / TOKENS; }

    static int64_t items(const Job& job, int phase) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        int64_t total = 0;
        for (int64_t i = 0; i < job.n_slots; ++i) total += phase == STORE ? 1 : runs(job.slots[i]);
        return total * k.n_kv_heads;
    }

    static int64_t scratch(const Job& job, int64_t) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        const PagePanel panel(k.blocks, k.block, nullptr);
        const int64_t queries = TOKENS * (k.n_heads / k.n_kv_heads), each = Query(panel, nullptr).bytes;
        return panel.bytes + whole(queries * sizeof(Query), 64) + queries * each;
    }

    static void item(const Job& job, int phase, int64_t i, void* space) {
        const Attention& k = *(const Attention*)job.layer->mixer;
        const int64_t head = i % k.n_kv_heads;
        int64_t run = i / k.n_kv_heads;
        if (phase == STORE) return store_item(k, *job.work, *job.states, job.slots[run], head);
        const Slot* slot = job.slots;
        for (; run >= runs(*slot); ++slot) run -= runs(*slot);
        attend_item(k, *job.work, *job.states, *slot, run * TOKENS, head, (char*)space);
    }

    static void rms(const Job& job, int64_t v) { unit_rms(*job.work, 1, v); }
};

}  // namespace
}  // namespace lightmamba
