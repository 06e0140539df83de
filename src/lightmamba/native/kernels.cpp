// The phases of a pass, and single operations over arrays.
#include "kernels.hpp"

#include "events.hpp"
#include "hadamard.hpp"
#include "mixers.hpp"  // of all kinds, made by setup.py
#include "project.hpp"
#include "quantize.hpp"

namespace lightmamba {
namespace {

// What a kind of mixer does between in_proj and the transform, and the 1/rms of its output.
struct MixerPhases {
    int in_a_pass;
    int64_t (*items)(const Job&, int phase);
    int64_t (*scratch)(const Job&, int64_t longest);  // bytes; longest: tokens of a slot
    void (*item)(const Job&, int phase, int64_t i, void* space);
    void (*rms)(const Job&, int64_t vector);
};

template <class K>
constexpr MixerPhases phases_of = {K::IN_A_PASS, K::items, K::scratch, K::item, K::rms};

#define PHASES(kind, Phases) phases_of<Phases>,
constexpr MixerPhases KINDS[N_KINDS] = {EACH_MIXER(PHASES)};

const MixerPhases& mixer(const Job& job) { return KINDS[job.layer->kind]; }

}  // namespace

#define TEXT(kind, Phases) shared::kind,
const char* const SHARED_TEXTS[4 + N_KINDS] = {
    KINDS_TEXT, shared::native, shared::operations, events::shared::events, EACH_MIXER(TEXT)
};

int mixer_phases(const Job& job) { return mixer(job).in_a_pass; }

int64_t items(const Job& job, int phase) {
    const Work& w = *job.work;
    switch (phase) {
        case EMBED: case NORM: case HADAMARD: case QUANTIZE: case RESIDUAL: return w.vectors;
        case IN_PROJ: return pairs_of_tiles(job.layer->in_proj);
        case OUT_PROJ: return pairs_of_tiles(job.layer->out_proj);
        case HEAD_NORM: return w.wanted;
        case HEAD: return pairs_of_tiles(job.model->head);
    }
    return mixer(job).items(job, phase - MIXER);
}

int64_t scratch(const Job& job) {
    int64_t longest = 1;
    for (int64_t i = 0; i < job.n_slots; ++i) {
        const int64_t tokens = job.slots[i].replay + job.slots[i].count;
        longest = longest < tokens ? tokens : longest;
    }
    const int64_t own = mixer(job).scratch(job, longest), line = 8 * job.layer->transform.padded;
    return own > line ? own : line;
}

void run_item(const Job& job, int phase, int64_t i, void* space) {
    const Model& m = *job.model;
    const Layer& k = *job.layer;
    const Work& w = *job.work;
    switch (phase) {
        case EMBED: return embed(m, w, i);
        case NORM:
            if (job.after_layer) add_residual(m, w, i);
            return normalize(
                m, k.routed() ? k.router : k.in_proj, w, i, i, w.in_rms, w.in_rms_shift, w.in_q, w.in_code,
                LOST_IN_PROJ_SCALE
            );
        case IN_PROJ:
            return project_tiles(
                k.in_proj, w.in_q, w.in_code, w.panel, {w.in_rms, w.in_rms_shift, 1}, i, w.vectors,
                w.rows, {w.lost + LOST_IN_PROJ, LOST_KINDS, nullptr}
            );
        case HADAMARD:
            for (int64_t g = 0; g < k.transform.groups; ++g) {
                const int64_t at = i * k.transform.groups + g;
                const int32_t* from = w.weighted + at * k.transform.dim;
                const int64_t lost = hadamard_group(k.transform, from, w.mixed + at * k.transform.padded, (int64_t*)space);
                add_lost(w.lost_of(i), LOST_HADAMARD, lost);
            }
            return;
        case QUANTIZE: {
            run_item(job, HADAMARD, i, space);
            const Linear& f = k.out_proj;
            int8_t* q = w.out_q + i * f.channels;
            uint8_t* code = w.out_code + i * (f.channels / f.act.block);
            int64_t clipped = 0, clamped = 0;
            mixer(job).rms(job, i);
            quantize(f.act, w.mixed + i * f.channels, f.channels, f.channels, q, code, &clipped, &clamped);
            if (f.panels) make_panel(f, q, code, w.panel, i);
            add_lost(w.lost_of(i), LOST_CLIPPED, clipped);
            return add_lost(w.lost_of(i), LOST_OUT_PROJ_SCALE, clamped);
        }
        case OUT_PROJ:
            return project_tiles(
                k.out_proj, w.out_q, w.out_code, w.panel,
                {w.out_rms, w.out_rms_shift, k.transform.groups}, i, w.vectors, w.out_rows,
                {w.lost + LOST_OUT_PROJ, LOST_KINDS, nullptr}
            );
        case RESIDUAL: return add_residual(m, w, i);
        case HEAD_NORM:
            return normalize(
                m, m.head, w, w.want[i], i, w.head_rms, w.head_rms_shift, w.head_q, w.head_code,
                LOST_HEAD_SCALE
            );
        case HEAD:
            return project_tiles(
                m.head, w.head_q, w.head_code, w.panel, {w.head_rms, w.head_rms_shift, 1}, i,
                w.wanted, w.logits, {w.lost + LOST_HEAD, LOST_KINDS, w.want}
            );
    }
    mixer(job).item(job, phase - MIXER, i, space);
}

void run_rms(const Model& m, const RmsOp& op, int64_t v) {
    const int64_t size = op.channels / op.groups;
    for (int64_t i = v * op.groups; i < (v + 1) * op.groups; ++i) {
        const int64_t total = squares(op.x + i * size, size, op.shift) + op.eps;
        reciprocal_root(m.tables, total, op.mantissa + i, op.j + i);
    }
}

void run_quantize(const QuantizeOp& op, int64_t v) {
    int64_t clipped = 0, clamped = 0;
    quantize(
        op.format, op.x + v * op.given, op.given, op.channels, op.q + v * op.channels,
        op.code + v * (op.channels / op.format.block), &clipped, &clamped
    );
    add_lost(op.lost, 0, clipped);
    add_lost(op.lost, 1, clamped);
}

void run_panel(const LinearOp& op, int64_t v) {
    const Linear& f = op.linear;
    make_panel(f, op.q + v * f.channels, op.code + v * (f.channels / f.act.block), op.panel, v);
}

template <class Out>
static void linear_tiles(const LinearOp& op, int64_t two) {
    project_tiles(
        op.linear, op.q, op.code, op.panel, {op.mantissa, op.j, op.groups}, two, op.vectors, (Out*)op.out,
        {op.lost, 0, nullptr}
    );
}

void run_linear(const LinearOp& op, int64_t two) {
    if (op.out_bytes == 2) linear_tiles<int16_t>(op, two);
    else if (op.out_bytes == 4) linear_tiles<int32_t>(op, two);
    else linear_tiles<int64_t>(op, two);
}

// Four nibbles, each in the low half of a byte of its own.
static uint32_t spread(uint32_t x) {
    x = (x | x << 8) & 0x00FF00FF;
    return (x | x << 4) & 0x0F0F0F0F;
}

// Rows as in the file to panels (project.hpp); rows beyond the last are zeros.
void pack(const PackOp& op, int64_t tile) {
    const int64_t bytes = op.channels * op.bits / 8, groups = op.channels / op.group;
    const int64_t chunk = 64, chunks = op.channels * op.bits * ROWS / 8 / chunk;
    for (int r = 0; r < ROWS; ++r) {
        const int64_t row = tile * ROWS + r;
        const bool real = row < op.rows;
        const uint8_t* from = op.weights + (real ? row : 0) * bytes;
        uint8_t* to = op.to + tile * chunks * chunk + 4 * r;
        for (int64_t s = 0; s < chunks; ++s, from += 4, to += chunk) {
            const uint32_t four = real ? load<uint32_t>(from) : 0;
            const uint32_t apart = spread(four & 0xFFFF) | spread(four >> 16) << 4;
            store(to, op.bits == 4 ? apart ^ 0x88888888 : four ^ 0x80808080);
        }
        for (int64_t g = 0; g < groups; ++g) {
            op.to_codes[(tile * groups + g) * ROWS + r] = real ? op.codes[row * groups + g] : 0;
        }
    }
}

}  // namespace lightmamba
