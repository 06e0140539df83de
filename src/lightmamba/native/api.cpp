// The C interface that engine/native.py calls. Arrays belong to the caller; nothing is checked here.
#include <algorithm>
#include <initializer_list>

#include "kernels.hpp"
#include "pool.hpp"

using namespace lightmamba;

namespace {

struct Context {
    explicit Context(int threads) : pool(threads) {}
    Pool pool;
};

// Run phases of one job one after the other, on the calling thread's share of each.
void phases(Context& c, const Job& job, std::initializer_list<int> list, void* space) {
    for (const int phase : list) {
        c.pool.share(items(job, phase), [&](int64_t begin, int64_t end) {
            run_phase(job, phase, begin, end, space);
        });
    }
}

template <class Work>
void over(Context* c, int64_t items, const Work& work) {
    c->pool.run([&](int) { c->pool.share(items, work); });
}

}  // namespace

extern "C" {

// The best that this processor has: 2 for AVX-512 with VNNI, 1 for AVX2, 0 for none of them.
int lightmamba_best_isa() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                      __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("lzcnt");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni");
    if (avx2) return avx512 ? 2 : 1;
#endif
    return 0;
}

// What the structs look like, so that a library of other sources is noticed: structs.py counts the same.
int64_t lightmamba_layout() {
    int64_t found = LAYOUT;
    for (const int64_t size : {
             sizeof(Tables), sizeof(Blocks), sizeof(Linear), sizeof(Transform), sizeof(Layer), sizeof(Model),
             sizeof(Slot), sizeof(Sequences), sizeof(Panel), sizeof(Work), sizeof(RmsOp), sizeof(QuantizeOp),
             sizeof(LinearOp), sizeof(PackOp),
         }) {
        found = found * 31 + size;
    }
    return found;
}

// Null where the system gives no such number of threads.
Context* lightmamba_open(int threads) {
    try {
        return new Context(threads);
    } catch (...) {
        return nullptr;
    }
}

void lightmamba_close(Context* context) { delete context; }

// Feed vectors through layers `first` to `last - 1`, after the embedding and before the head if so
// asked.
void lightmamba_run(
    Context* c, const Model* model, const Work* work, const Sequences* states, const Slot* slots,
    int64_t n_slots, int64_t first, int64_t last, int embed, int head
) {
    Job whole{model, model->layers, work, states, slots, n_slots, false};
    int64_t bytes = 0;
    for (int64_t i = first; i < last; ++i) {
        whole.layer = model->layers + i;
        bytes = std::max(bytes, scratch(whole));
    }
    c->pool.run([&](int thread) {
        void* space = c->pool.scratch(thread, bytes);
        Job job = whole;
        if (embed) phases(*c, job, {EMBED}, space);
        for (int64_t i = first; i < last; ++i) {
            job.layer = model->layers + i;
            job.after_layer = i > first;
            phases(*c, job, {NORM, IN_PROJ}, space);
            for (int n = 0; n < mixer_phases(job); ++n) phases(*c, job, {MIXER + n}, space);
            phases(*c, job, {HADAMARD, QUANTIZE, OUT_PROJ}, space);
        }
        if (last > first) phases(*c, job, {RESIDUAL}, space);
        if (head) phases(*c, job, {HEAD_NORM, HEAD}, space);
    });
}

// One phase of a layer.
void lightmamba_phase(
    Context* c, const Model* model, const Layer* layer, const Work* work, const Sequences* states,
    const Slot* slots, int64_t n_slots, int phase
) {
    const Job job{model, layer, work, states, slots, n_slots, false};
    const int64_t bytes = scratch(job);
    c->pool.run([&](int thread) { phases(*c, job, {phase}, c->pool.scratch(thread, bytes)); });
}

void lightmamba_rms(Context* c, const Model* model, const RmsOp* op, int64_t vectors) {
    over(c, vectors, [&](int64_t a, int64_t b) { run_rms(*model, *op, a, b); });
}

void lightmamba_quantize(Context* c, const QuantizeOp* op, int64_t vectors) {
    over(c, vectors, [&](int64_t a, int64_t b) { run_quantize(*op, a, b); });
}

void lightmamba_linear(Context* c, const LinearOp* op) {
    const int64_t tiles = (op->linear.rows + 31) / 32;  // pairs of them
    if (op->linear.panels) {
        over(c, op->vectors, [&](int64_t a, int64_t b) { make_panels(*op, a, b); });
    }
    over(c, tiles, [&](int64_t a, int64_t b) { run_linear(*op, a, b); });
}

void lightmamba_pack(Context* c, const PackOp* op) {
    over(c, (op->rows + 15) / 16, [&](int64_t a, int64_t b) { pack(*op, a, b); });
}

}  // extern "C"
