#include "pool.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#if defined(__linux__)
#include <fcntl.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lightmamba {
namespace {

constexpr int SPINS = 4000;          // some tens of microseconds; then the thread sleeps
constexpr int BETWEEN = 4 * SPINS;  // from one call to the next: a program chooses a token meanwhile
constexpr uint32_t CALL = 1 << 12;
constexpr double SHORT = 1e-3;  // seconds: longer phases share their work well with threads that come late
// What lasts of a share of waiting after a call; how much is too much; and what one more thread begins with.
constexpr double LASTING = 0.75, LIMIT = 0.9, WARY = 0.6;

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Nanoseconds that the calling thread was ready to run and did not; 0 where the system does not report it.
int64_t kept_waiting() {
#if defined(__linux__)
    struct File {
        int number = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        ~File() { ::close(number); }
    };
    thread_local const File file;
    char text[64] = "";
    if (pread(file.number, text, sizeof text - 1, 0) <= 0) return 0;
    char* rest = text;
    std::strtoll(rest, &rest, 10);  // running
    return std::strtoll(rest, &rest, 10);
#else
    return 0;
#endif
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Wait until a counter is no longer `old`.
void wait(const std::atomic<uint32_t>& counter, uint32_t old, int spins = SPINS) {
    for (int i = 0; i < spins; ++i) {
        if (counter.load(std::memory_order_acquire) != old) return;
        pause();
    }
    while (counter.load(std::memory_order_acquire) == old) counter.wait(old);
}

}  // namespace

void Turnout::after(double waiting) {
    pressure = LASTING * pressure + waiting;
    ++calm;
    if (pressure > LIMIT) {
        active = std::max(1, active - 1);
        patience = std::min(2 * patience, MOST);
        pressure = calm = 0;
    } else if (calm == patience) {
        if (active == threads) patience = FEWEST;
        if (active < threads) pressure = WARY;
        active = std::min(active + 1, threads);
        calm = 0;
    }
}

Pool::Pool(int threads)
    : memory_(threads), memory_bytes_(threads), taken_(threads), turnout_(std::min(threads, int(CALL) - 1)) {
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
    call_.fetch_add(CALL);
    call_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Pool::serve(int thread) noexcept {
    for (uint32_t seen = 0, spins = BETWEEN;;) {
        wait(call_, seen, spins);
        if (closing_) return;
        seen = call_.load(std::memory_order_acquire);
        const bool mine = thread < int(seen % CALL);
        if (mine) take_part(thread);
        spins = mine ? BETWEEN : 0;
    }
}

void Pool::run(FunctionRef<int> body) {
    const double begin = now();
    body_ = &body;
    active_ = turnout_.active;
    phases_ = 0;
    waiting_.store(0, std::memory_order_relaxed);
    const uint32_t number = call_.load() / CALL + 1;
    call_.store(number * CALL + active_);
    if (active_ > 1 || number % 1024 == 0) call_.notify_all();  // so that no sleeper sees an old number again
    take_part(0);
    turnout_.after(now() - begin < SHORT * phases_ ? waiting_.load() : 0);
    if (failed_.exchange(false)) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::take_part(int thread) noexcept {
    if (workers_.empty()) return (*body_)(thread);
    const double begin = now();
    const int64_t before = kept_waiting();
    (*body_)(thread);
    const double share = 1e-9 * (kept_waiting() - before) / (now() - begin);
    for (double most = waiting_; share > most && !waiting_.compare_exchange_weak(most, share);) {}
    barrier();
}

void Pool::share(int thread, int64_t items, FunctionRef<int64_t> work) noexcept {
    constexpr uint64_t FRONT = 1, BACK = uint64_t(1) << 32;
    const auto first = [&](int64_t n) { return (items * n + active_ - 1) / active_; };
    if (thread == 0) ++phases_;
    for (int i = 0; i < active_; ++i) {
        const int of = (thread + i) % active_;
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
    const int all = active_;  // which may be another call's as soon as this thread has arrived
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
        arrived_.store(0, std::memory_order_relaxed);
        for (Taken& each : taken_) each.both.store(0, std::memory_order_relaxed);
        round_.store(round + 1);  // before notify_all looks for sleepers
        if (all > 1) round_.notify_all();
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
