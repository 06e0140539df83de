// A persistent pool of threads that run one function together and meet at barriers inside it.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

namespace lightmamba {

// A function of the caller's, by reference. Unlike std::function it allocates nothing, so that making one
// on a thread of the pool cannot fail.
template <class... Given>
class FunctionRef {
  public:
    template <class F>
    FunctionRef(const F& f)
        : object_(&f), call_([](const void* object, Given... given) { (*static_cast<const F*>(object))(given...); }) {}
    void operator()(Given... given) const { call_(object_, given...); }

  private:
    const void* object_;
    void (*call_)(const void*, Given...);
};

// How many threads take part in a call. Where another program keeps a processor busy, phases of microseconds
// wait milliseconds for a thread that is not running; then fewer are quicker. More are tried again after some
// calls in peace, and twice as many each time that it fails.
struct Turnout {
    explicit Turnout(int threads) : threads(threads), active(threads) {}

    // After a call: the share of its time that a thread was ready and did not run, of the worst one.
    void after(double waiting);

    static constexpr int FEWEST = 2, MOST = 256;  // calls until one more is tried
    int threads, active, calm = 0, patience = FEWEST;
    double pressure = 0;
};

class Pool {
  public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int size() const { return int(workers_.size()) + 1; }  // threads, of which not all take part in every call

    // Run body(thread) on all threads; returns when all have. The body itself must not throw. What `share`'s
    // work threw, on any thread, is thrown here: the first of it.
    void run(FunctionRef<int> body);

    // Inside of run: every thread takes its own run of neighbors of the `items` one by one, from the front, and
    // then those of threads that are behind, from the back; then wait for all. So a thread reads memory in one
    // direction, as processors prefetch it, and the same memory in every pass. After work that threw, no more
    // is done in this run.
    void share(int thread, int64_t items, FunctionRef<int64_t> work) noexcept;

    // Before run: make sure that every thread has so much memory.
    void reserve(int64_t bytes);

    // Memory of one thread, kept for its next call; aligned to 64 bytes.
    void* scratch(int thread) const noexcept;

  private:
    // How many items of a thread's run were taken: from the front in the low half, from the back in the high one.
    struct alignas(64) Taken {
        std::atomic<uint64_t> both{0};
    };

    void take_part(int thread) noexcept;
    void barrier() noexcept;
    void close();
    void serve(int thread) noexcept;

    std::vector<std::thread> workers_;
    std::vector<std::unique_ptr<char[]>> memory_;
    std::vector<int64_t> memory_bytes_;
    const FunctionRef<int>* body_ = nullptr;
    std::exception_ptr error_;
    std::vector<Taken> taken_;  // by thread
    alignas(64) std::atomic<uint32_t> round_{0};   // of the barrier
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<uint32_t> call_{0};    // its number, times CALL, and how many threads take part
    std::atomic<bool> failed_{false}, closing_{false};
    std::atomic<double> waiting_{0};  // of this call, for the turnout
    Turnout turnout_;
    int active_ = 1;      // of this call
    int64_t phases_ = 0;  // of this call, by the first thread
};

}  // namespace lightmamba
