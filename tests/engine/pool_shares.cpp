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
    const auto calls = [&](int count, bool disturbed) {
        for (int i = 0; i < count; ++i) turnout.after(disturbed);
        return turnout.active;
    };
    if (turnout.active != 3 || calls(1, true) != 2 || calls(1, true) != 1 || calls(1, true) != 1) return 5;
    if (calls(15, false) != 1 || calls(1, false) != 2 || calls(16, false) != 3) return 6;
    if (calls(1, true) != 2 || calls(31, false) != 2 || calls(1, false) != 3) return 7;
    if (calls(32, false) != 3 || calls(1, true) != 2 || calls(4, false) != 3) return 8;  // as at first again
    calls(20, true);
    if (calls(127, false) != 1 || calls(1, false) != 2) return 9;
    return 0;
}
