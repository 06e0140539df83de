// A pool: every item is done once, threads that are ready do the work of one that is behind, and what
// an item throws on any thread reaches the caller, after which the pool works on. And how many threads
// take part after calls with and without disturbance.
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pool.hpp"

int main() {
    for (int threads = 1; threads < 5; ++threads) {
        lightmamba::Pool pool(threads);
        for (int64_t items = 0; items < 40; ++items) {
            std::vector<std::atomic<int>> times(items);
            pool.run([&](int thread) { pool.share(thread, items, [&](int64_t i) { ++times[i]; }); });
            for (const auto& each : times) {
                if (each != 1) return 1;
            }
        }
    }
    for (int64_t slow = 0; slow < 24; ++slow) {
        lightmamba::Pool pool(3);  // a new one, of which all threads take part
        std::atomic<int> done{0};
        pool.run([&](int thread) {
            pool.share(thread, 24, [&](int64_t i) {
                while (i == slow && done < 23) std::this_thread::yield();
                ++done;
            });
        });
    }
    lightmamba::Pool pool(3);
    for (int64_t round = 0; round < 240; ++round) {
        std::atomic<int> later{0};
        bool thrown = false;
        try {
            pool.run([&](int thread) {
                pool.share(thread, 24, [&](int64_t i) {
                    if (i == round % 24) throw std::runtime_error("no luck");
                });
                pool.share(thread, 24, [&](int64_t) { ++later; });
            });
        } catch (const std::runtime_error& error) {
            thrown = std::strcmp(error.what(), "no luck") == 0;
        }
        if (!thrown) return 2;
        if (later) return 3;  // a phase was run on what the one before had left
        std::atomic<int> count{0};
        pool.run([&](int thread) { pool.share(thread, 100, [&](int64_t) { ++count; }); });
        if (count != 100) return 4;
    }
    lightmamba::Turnout turnout(3);
    const auto calls = [&](int count, double waiting) {
        for (int i = 0; i < count; ++i) turnout.after(waiting);
        return turnout.active;
    };
    if (calls(1, 0.6) != 3 || calls(7, 0) != 3 || calls(1, 0.6) != 3) return 5;  // once is nothing
    if (calls(1, 0.6) != 2 || calls(1, 1) != 1 || calls(1, 1) != 1) return 6;
    if (calls(15, 0) != 1 || calls(1, 0) != 2 || calls(16, 0) != 3) return 7;  // each begins warily
    if (calls(1, 1) != 2 || calls(31, 0) != 2 || calls(1, 0.1) != 3) return 8;
    if (calls(32, 0) != 3 || calls(1, 1) != 2 || calls(4, 0) != 3) return 9;  // as at first again
    calls(20, 1);
    if (calls(255, 0) != 1 || calls(1, 0) != 2 || calls(1, 0.5) != 1) return 10;
    return 0;
}
