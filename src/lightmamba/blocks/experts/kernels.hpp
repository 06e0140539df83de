// The phases of a mixture of experts, its projections included. Source: blocks/experts/arithmetic.py.
//
// Pairs of a vector and a block that it takes lie by block, so that a block is projected for all vectors that
// take it at once.
#pragma once
#include "../../native/hadamard.hpp"
#include "../../native/kernels.hpp"
#include "../../native/project.hpp"
#include "../../native/quantize.hpp"
#include "../../native/scratch.hpp"
#include "../mlp/hidden.hpp"
#include "choice.hpp"

namespace lightmamba {

LOSSES(router, experts.hidden)

SHARED(experts,

struct Experts {
    const Tables* tables;
    int64_t n_experts, top_k, n_shared, d_hidden, gated;
    int64_t silu, shift, score_shift;  // right shifts: as of an MLP, and of a row of the router to a score
    int64_t softmax, normed;
    const int32_t* choice_bias;  // (n_experts)

    int64_t blocks() const { return n_experts + n_shared; }
    int64_t taken() const { return top_k + n_shared; }
    int64_t block_rows() const { return gated ? 2 * d_hidden : d_hidden; }
};

// By vector, or by pair where it says so; n pairs for each vector.
struct ExpertsWork {
    int16_t* router_rows;  // (n_experts)
    int32_t* scores;       // (n_experts)
    int32_t *blocks, *weights, *pair;  // (n), as the vector lists them
    int64_t* owner;        // by pair: its vector
    int32_t* share;        // by pair: its weight
    int32_t *rms, *rms_shift;  // by pair
    int32_t* hidden;       // by pair: (d_hidden)
    int64_t* first;        // of the pass: first pair of each block, and the end of the last one's
    int64_t* used;         // of the pass: how many blocks some vector takes, then these
};

)  // SHARED

namespace {

// Block b of a projection.
INLINE Linear block_of(const Linear& f, int64_t b) {
    const int64_t tiles = (f.rows + ROWS - 1) / ROWS;
    Linear out = f;
    out.weights += b * tiles * (f.channels * f.bits * ROWS / 8);
    out.codes += b * tiles * (f.channels / f.group) * ROWS;
    out.row_shift += b * tiles * ROWS;
    return out;
}

struct ExpertsPhases {
    enum { ROUTE, CHOOSE, GATHER, IN_BLOCKS, HIDDEN, OUT_BLOCKS, IN_A_PASS };
    static constexpr int64_t RUN = 8;  // tiles of out_proj in an item, which go through one block after the other

    static const Experts& sizes(const Job& job) { return *(const Experts*)job.layer->mixer; }
    static const ExpertsWork& own(const Job& job) { return *(const ExpertsWork*)job.work->own[KIND_EXPERTS]; }

    static int64_t items(const Job& job, int phase) {
        const int64_t vectors = job.work->vectors;
        switch (phase) {
            case ROUTE: return pairs_of_tiles(job.layer->router);
            case CHOOSE: return 1;
            case GATHER: return vectors;
            case IN_BLOCKS: return *own(job).used * pairs_of_tiles(job.layer->in_proj);
            case HIDDEN: return vectors * sizes(job).taken();
        }
        return (job.layer->out_proj.rows + RUN * ROWS - 1) / (RUN * ROWS);
    }

    static int64_t scratch(const Job& job, int64_t) {
        const Layer& k = *job.layer;
        Scratch sums{nullptr}, input{nullptr};
        sums.take<i64x8>(2 * RUN * job.work->vectors);
        input.take<int8_t>(k.in_proj.channels);
        input.take<int64_t>(sizes(job).n_experts);
        return sums.bytes > input.bytes ? sums.bytes : input.bytes;
    }

    static void item(const Job& job, int phase, int64_t i, void* space) {
        switch (phase) {
            case ROUTE: return route(job, i);
            case CHOOSE: return choose(job, (int64_t*)space);
            case GATHER: return gather(job, i, (int8_t*)space);
            case IN_BLOCKS: return in_blocks(job, i);
            case HIDDEN: return hidden(job, i, (int64_t*)space);
        }
        out_blocks(job, i, (i64x8*)space);
    }

    static void rms(const Job&, int64_t) {}

    static void route(const Job& job, int64_t two) {
        const Work& w = *job.work;
        project_tiles(
            job.layer->router, w.in_q, w.in_code, w.panel, {w.in_rms, w.in_rms_shift, 1}, two, w.vectors,
            own(job).router_rows, {w.lost + LOST_IN_PROJ, LOST_KINDS, nullptr}
        );
    }

    // The blocks of all vectors, and their pairs in the order of the blocks.
    APART void choose(const Job& job, int64_t* keys) {
        const Experts& k = sizes(job);
        const ExpertsWork& o = own(job);
        const Work& w = *job.work;
        const Choice choice{k.tables, k.n_experts, k.top_k, k.softmax, k.normed, k.softmax ? nullptr : k.choice_bias};
        const int64_t taken = k.taken(), blocks = k.blocks();
        std::memset(o.first, 0, (blocks + 1) * sizeof(int64_t));
        for (int64_t v = 0; v < w.vectors; ++v) {
            int32_t *scores = o.scores + v * k.n_experts, *mine = o.blocks + v * taken, *weights = o.weights + v * taken;
            int64_t lost = 0;
            for (int64_t e = 0; e < k.n_experts; ++e) {
                const int64_t wide = round_shift(int64_t(o.router_rows[v * k.n_experts + e]), k.score_shift);
                scores[e] = saturate(wide, -LARGEST31 - 1, LARGEST31);
                lost += scores[e] != wide;
            }
            add_lost(w.lost_of(v), LOST_ROUTER, lost);
            for (int64_t s = 0; s < k.n_shared; ++s) {
                mine[s] = k.n_experts + s;
                weights[s] = 1 << WEIGHT_BITS;
            }
            choice(scores, mine + k.n_shared, weights + k.n_shared, keys);
            for (int64_t n = 0; n < taken; ++n) ++o.first[mine[n] + 1];
        }
        *o.used = 0;
        for (int64_t b = 0; b < blocks; ++b) {
            if (o.first[b + 1] != 0) o.used[++*o.used] = b;
            o.first[b + 1] += o.first[b];
        }
        for (int64_t i = 0; i < w.vectors * taken; ++i) {
            const int64_t p = o.first[o.blocks[i]]++;
            o.pair[i] = p;
            o.owner[p] = i / taken;
            o.share[p] = o.weights[i];
        }
        for (int64_t b = blocks; b > 0; --b) o.first[b] = o.first[b - 1];  // each had moved to the next one's
        o.first[0] = 0;
    }

    // The input of a vector as in_proj takes it, for all its pairs.
    APART void gather(const Job& job, int64_t v, int8_t* line) {
        const ExpertsWork& o = own(job);
        const Work& w = *job.work;
        const Linear& f = job.layer->in_proj;
        const int64_t taken = sizes(job).taken(), steps = f.channels / STEP, groups = f.channels / f.group;
        const int8_t* q = w.in_q + v * f.channels;
        if (f.act_bits == 4) {  // the upper halves
            for (int64_t i = 0; i < f.channels; ++i) line[i] = (q[i] + 8) >> 4;
            q = line;
        }
        const int32_t* pairs = o.pair + v * taken;
        make_panel(f, q, w.in_code + v * (f.channels / f.act.block), w.panel, *pairs);
        const Panel from = panel_from(w.panel, f, *pairs);
        for (int64_t n = 0; n < taken; ++n) {
            const Panel to = panel_from(w.panel, f, pairs[n]);
            o.rms[pairs[n]] = w.in_rms[v];
            o.rms_shift[pairs[n]] = w.in_rms_shift[v];
            if (n == 0) continue;
            std::memcpy(to.a, from.a, f.channels);
            std::memcpy(to.scale, from.scale, steps * sizeof(int32_t));
            std::memcpy(to.correction, from.correction, groups * sizeof(int32_t));
            *to.low = *from.low;
        }
    }

    static void in_blocks(const Job& job, int64_t i) {
        const ExpertsWork& o = own(job);
        const Work& w = *job.work;
        const Linear& all = job.layer->in_proj;
        const int64_t each = pairs_of_tiles(all), b = o.used[1 + i / each], p = o.first[b];
        project_tiles(
            block_of(all, b), nullptr, nullptr, panel_from(w.panel, all, p), {o.rms + p, o.rms_shift + p, 1},
            i % each, o.first[b + 1] - p, w.rows + p * all.rows, {w.lost + LOST_IN_PROJ, LOST_KINDS, o.owner + p}
        );
    }

    // The input of out_proj of one pair.
    APART void hidden(const Job& job, int64_t p, int64_t* line) {
        const Experts& k = sizes(job);
        const ExpertsWork& o = own(job);
        const Work& w = *job.work;
        const Linear& f = job.layer->out_proj;
        int64_t* lost = w.lost_of(o.owner[p]);
        const int16_t* a = w.rows + p * k.block_rows();
        int32_t *values = o.hidden + p * k.d_hidden, *weighted = w.weighted + p * k.d_hidden;
        const HiddenRows rows{k.tables, a, k.gated ? a + k.d_hidden : nullptr, k.silu, k.shift};
        add_lost(lost, LOST_EXPERTS_HIDDEN, hidden_values(rows, k.d_hidden, values));
        const int64_t weight = o.share[p];
        for (int64_t c = 0; c < k.d_hidden; ++c) weighted[c] = round_shift(values[c] * weight, WEIGHT_BITS);
        int32_t* mixed = w.mixed + p * f.channels;
        add_lost(lost, LOST_HADAMARD, hadamard_group(job.layer->transform, weighted, mixed, line));
        int8_t* q = w.out_q + p * f.channels;
        uint8_t* code = w.out_code + p * (f.channels / f.act.block);
        int64_t clipped = 0, clamped = 0;
        quantize(f.act, mixed, f.channels, f.channels, q, code, &clipped, &clamped);
        make_panel(f, q, code, w.panel, p);
        add_lost(lost, LOST_CLIPPED, clipped);
        add_lost(lost, LOST_OUT_PROJ_SCALE, clamped);
    }

    // A run of tiles of out_proj: exact sums over the blocks of each vector, then one rounding.
    APART void out_blocks(const Job& job, int64_t item, i64x8* sums) {
        const ExpertsWork& o = own(job);
        const Work& w = *job.work;
        const Linear& all = job.layer->out_proj;
        const int64_t tiles = (all.rows + ROWS - 1) / ROWS, begin = item * RUN;
        const int64_t end = begin + RUN < tiles ? begin + RUN : tiles;
        const auto of = [&](int64_t tile, int64_t v) { return sums + ((tile - begin) * w.vectors + v) * 2; };
        for (i64x8* at = sums; at < of(end, 0); ++at) *at = all64(0);
        for (int64_t n = 1; n <= *o.used; ++n) {
            const int64_t b = o.used[n], p = o.first[b];
            Linear f = block_of(all, b);
            f.raw = 1;
            const Panel panel = panel_from(w.panel, f, p);
            for (int64_t tile = begin; tile < end; tile += 2) {
                two_tiles(
                    f, panel, {o.rms + p, o.rms_shift + p, 1}, tile, o.first[b + 1] - p,
                    [&](int64_t mine, int64_t from, int64_t count, const Rows* rows) {
                        for (int64_t t = 0; t < count; ++t) {
                            i64x8* to = of(mine, o.owner[p + from + t]);
                            to[0] += rows[t].half[0];
                            to[1] += rows[t].half[1];
                        }
                    }
                );
            }
        }
        for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t width = all.rows - tile * ROWS;
            for (int64_t v = 0; v < w.vectors; ++v) {
                Rows rows;
                clear<1>(&rows);
                finish(all, of(tile, v), 0, tile, 1 << 15, -7, rows);
                put(w.out_rows + v * all.rows + tile * ROWS, rows, width < ROWS ? width : ROWS);
                add_lost(w.lost_of(v), LOST_OUT_PROJ, sum(rows.lost));
            }
        }
    }
};

}  // namespace
}  // namespace lightmamba
