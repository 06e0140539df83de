// Work that throws on some thread of a pool: the caller gets it, and the pool goes on working.
#include <atomic>
#include <cstring>
#include <stdexcept>

#include "pool.hpp"

int main() {
    lightmamba::Pool pool(3);
    for (int round = 0; round < 240; ++round) {
        std::atomic<int> later{0};
        bool thrown = false;
        try {
            pool.run([&](int) {
                pool.share(24, [&](int64_t begin, int64_t) {
                    if (begin == round % 24) throw std::runtime_error("no luck");
                });
                pool.share(24, [&](int64_t, int64_t) { ++later; });
            });
        } catch (const std::runtime_error& error) {
            thrown = std::strcmp(error.what(), "no luck") == 0;
        }
        if (!thrown) return 1;
        if (later) return 2;  // a phase was run on what the one before had left
        std::atomic<int64_t> sum{0};
        pool.run([&](int) {
            pool.share(100, [&](int64_t begin, int64_t end) { sum += end - begin; });
        });
        if (sum != 100) return 3;
    }
    return 0;
}
