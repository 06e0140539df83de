#include "pool.hpp"

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lightmamba {
namespace {

constexpr int SPINS = 4000;  // some tens of microseconds; then the thread sleeps

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Wait until a counter is no longer `old`.
void wait(const std::atomic<uint32_t>& counter, uint32_t old) {
    for (int i = 0; i < SPINS; ++i) {
        if (counter.load(std::memory_order_acquire) != old) return;
        pause();
    }
    while (counter.load(std::memory_order_acquire) == old) counter.wait(old);
}

}  // namespace

Pool::Pool(int threads) : memory_(threads), memory_bytes_(threads), taken_(threads) {
    try {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
    } catch (...) {
        close();
        throw;
    }
}

Pool::~Pool() { close(); }

void Pool::close() {
    closing_ = true;
    call_.fetch_add(1);
    call_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Pool::serve(int thread) noexcept {
    for (uint32_t seen = 0;; ++seen) {
        wait(call_, seen);
        if (closing_) return;
        (*body_)(thread);
        barrier();
    }
}

void Pool::run(FunctionRef<int> body) {
    body_ = &body;
    call_.fetch_add(1);
    call_.notify_all();
    body(0);
    barrier();
    if (failed_.exchange(false)) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::share(int thread, int64_t items, FunctionRef<int64_t> work) noexcept {
    constexpr uint64_t FRONT = 1, BACK = uint64_t(1) << 32;
    const auto first = [&](int64_t n) { return (items * n + size() - 1) / size(); };
    for (int i = 0; i < size(); ++i) {
        const int of = (thread + i) % size();
        const int64_t begin = first(of), end = first(of + 1);
        while (!failed_.load(std::memory_order_relaxed)) {
            // Nobody gets an item once all are taken, so the two halves never meet.
            const uint64_t before = taken_[of].both.fetch_add(i ? BACK : FRONT, std::memory_order_relaxed);
            const int64_t front = before % BACK, back = before / BACK;
            if (front + back >= end - begin) break;
            try {
                work(i ? end - 1 - back : begin + front);
            } catch (...) {
                if (!failed_.exchange(true)) error_ = std::current_exception();
            }
        }
    }
    barrier();
}

void Pool::barrier() noexcept {
    const uint32_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
        arrived_.store(0, std::memory_order_relaxed);
        for (Taken& each : taken_) each.both.store(0, std::memory_order_relaxed);
        round_.store(round + 1);  // before notify_all looks for sleepers
        if (size() > 1) round_.notify_all();
    } else {
        wait(round_, round);
    }
}

void Pool::reserve(int64_t bytes) {
    for (int thread = 0; thread < size(); ++thread) {
        if (memory_bytes_[thread] >= bytes) continue;
        memory_[thread] = std::make_unique_for_overwrite<char[]>(bytes + 64);
        memory_bytes_[thread] = bytes;
    }
}

void* Pool::scratch(int thread) const noexcept {
    const auto at = reinterpret_cast<uintptr_t>(memory_[thread].get());
    return reinterpret_cast<void*>((at + 63) / 64 * 64);
}

}  // namespace lightmamba
