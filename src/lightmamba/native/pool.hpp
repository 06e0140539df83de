// A persistent pool of threads that run one function together and meet at barriers inside it.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace lightmamba {

class Pool {
  public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int size() const { return int(workers_.size()) + 1; }

    // Run body(thread) on all threads; returns when all have.
    void run(const std::function<void(int)>& body);

    // Inside of run: share `items` among the threads as they come, then wait for all of them.
    void share(int64_t items, const std::function<void(int64_t begin, int64_t end)>& work);

    // Memory of one thread, kept for its next call; aligned to 64 bytes.
    void* scratch(int thread, int64_t bytes);

  private:
    void barrier();
    void close();
    void serve(int thread);

    std::vector<std::thread> workers_;
    std::vector<std::unique_ptr<char[]>> memory_;
    std::vector<int64_t> memory_bytes_;
    const std::function<void(int)>* body_ = nullptr;
    alignas(64) std::atomic<int64_t> next_{0};     // first item that nobody has taken
    alignas(64) std::atomic<uint32_t> round_{0};   // of the barrier
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<uint32_t> call_{0};    // a new one wakes the workers
    std::atomic<bool> closing_{false};
};

}  // namespace lightmamba
