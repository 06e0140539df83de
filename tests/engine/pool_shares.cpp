// A pool: every item is done once, threads that are ready do the work of one that is behind, and what
// an item throws on any thread reaches the caller, after which the pool works on.
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
    lightmamba::Pool pool(3);
    for (int64_t slow = 0; slow < 24; ++slow) {
        std::atomic<int> done{0};
        pool.run([&](int thread) {
            pool.share(thread, 24, [&](int64_t i) {
                while (i == slow && done < 23) std::this_thread::yield();
                ++done;
            });
        });
    }
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
    return 0;
}
