// The C interface that native/library.py calls. Arrays belong to the caller; nothing is checked here.
// Functions that work return 0, or what went wrong: no exception leaves this file.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <new>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "events.hpp"
#include "kernels.hpp"
#include "pool.hpp"

using namespace lightmamba;

namespace {

struct Context {
    explicit Context(int threads) : pool(threads) {}
    Pool pool;
    char error[200] = "";  // what the last call that failed said
};

enum Status { DONE, NO_MEMORY, FAILED, STUCK };

template <class Body>
int guarded(Context* c, const Body& body) {
    try {
        body();
        return DONE;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (const std::exception& error) {
        std::snprintf(c->error, sizeof c->error, "%s", error.what());
    } catch (...) {
        std::snprintf(c->error, sizeof c->error, "an exception without a name");
    }
    return FAILED;
}

// Run phases of one job one after the other, on the calling thread's share of each.
void phases(Context& c, int thread, const Job& job, std::initializer_list<int> list) {
    void* space = c.pool.scratch(thread);
    for (const int phase : list) {
        c.pool.share(thread, items(job, phase), [&](int64_t i) { run_item(job, phase, i, space); });
    }
}

template <class Work>
void over(Context* c, int64_t items, const Work& work) {
    c->pool.run([&](int thread) { c->pool.share(thread, items, work); });
}

}  // namespace

extern "C" {

// The best that this processor has of isas.py: 2 for AVX-512 with VNNI, or for products of matrices of
// bytes; 1 for AVX2, or for dot products of bytes; 0 for none of them.
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
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) return getauxval(AT_HWCAP2) & HWCAP2_I8MM ? 2 : 1;
#endif
    return 0;
}

// The text of a header's shared structs, or null after the last; structs.py compares it with the header.
const char* lightmamba_shared(int n) { return n < int(std::size(SHARED_TEXTS)) ? SHARED_TEXTS[n] : nullptr; }

// Null where the system gives no such number of threads.
Context* lightmamba_open(int threads) {
    try {
        return new Context(threads);
    } catch (...) {
        return nullptr;
    }
}

void lightmamba_close(Context* context) { delete context; }

const char* lightmamba_error(const Context* context) { return context->error; }

// Feed vectors through layers `first` to `last - 1`, after the embedding and before the head if so
// asked.
int lightmamba_run(
    Context* c, const Model* model, const Work* work, const Sequences* states, const Slot* slots,
    int64_t n_slots, int64_t first, int64_t last, int embed, int head
) {
    return guarded(c, [&] {
        Job whole{model, model->layers, work, states, slots, n_slots, false};
        int64_t bytes = 0;
        for (int64_t i = first; i < last; ++i) {
            whole.layer = model->layers + i;
            bytes = std::max(bytes, scratch(whole));
        }
        c->pool.reserve(bytes);
        c->pool.run([&](int thread) {
            Job job = whole;
            if (embed) phases(*c, thread, job, {EMBED});
            for (int64_t i = first; i < last; ++i) {
                job.layer = model->layers + i;
                job.after_layer = i > first;
                const bool routed = job.layer->routed();  // then its phases include the projections
                phases(*c, thread, job, {NORM});
                if (!routed) phases(*c, thread, job, {IN_PROJ});
                for (int n = 0; n < mixer_phases(job); ++n) phases(*c, thread, job, {MIXER + n});
                if (!routed) phases(*c, thread, job, {QUANTIZE, OUT_PROJ});
            }
            if (last > first) phases(*c, thread, job, {RESIDUAL});
            if (head) phases(*c, thread, job, {HEAD_NORM, HEAD});
        });
    });
}

// One phase of a layer.
int lightmamba_phase(
    Context* c, const Model* model, const Layer* layer, const Work* work, const Sequences* states,
    const Slot* slots, int64_t n_slots, int phase
) {
    return guarded(c, [&] {
        const Job job{model, layer, work, states, slots, n_slots, false};
        c->pool.reserve(scratch(job));
        c->pool.run([&](int thread) { phases(*c, thread, job, {phase}); });
    });
}

int lightmamba_rms(Context* c, const Model* model, const RmsOp* op, int64_t vectors) {
    return guarded(c, [&] { over(c, vectors, [&](int64_t v) { run_rms(*model, *op, v); }); });
}

int lightmamba_quantize(Context* c, const QuantizeOp* op, int64_t vectors) {
    return guarded(c, [&] { over(c, vectors, [&](int64_t v) { run_quantize(*op, v); }); });
}

int lightmamba_linear(Context* c, const LinearOp* op) {
    return guarded(c, [&] {
        const int64_t tiles = (op->linear.rows + 31) / 32;  // pairs of them
        if (op->linear.panels) over(c, op->vectors, [&](int64_t v) { run_panel(*op, v); });
        over(c, tiles, [&](int64_t two) { run_linear(*op, two); });
    });
}

int lightmamba_pack(Context* c, const PackOp* op) {
    return guarded(c, [&] { over(c, (op->rows + 15) / 16, [&](int64_t tile) { pack(*op, tile); }); });
}

// Walk a machine on the calling thread; STUCK, if all of it waits for something.
int lightmamba_walk(const events::Machine* machine) {
    try {
        return events::walk(*machine) ? DONE : STUCK;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (...) {
        return FAILED;
    }
}

}  // extern "C"
