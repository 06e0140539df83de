// Memory of a simulated machine: regions of bytes, and channels that serve them.
//
// A channel serves its requests strictly in order of arrival, a beat at a time, at a rate in bytes
// per cycle that reads and writes share. It is a model of what a memory controller costs, not of
// how one works: rate, latency, refresh and the change between reads and writes are all that it has.

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace lightmamba {

constexpr uint64_t PAGE = 4096;
constexpr size_t BEAT_BYTES = 64;  // widest port: 512 bits

// First in, first out; grows by doubling and never shrinks.
template <class T>
class Ring {
public:
    bool empty() const { return count_ == 0; }
    size_t size() const { return count_; }
    T& front() { return slots_[first_]; }
    T& at(size_t n) { return slots_[(first_ + n) & (slots_.size() - 1)]; }
    void clear() { first_ = count_ = 0; }

    T& push() {
        if (count_ == slots_.size()) grow();
        return at(count_++);
    }

    void pop() {
        first_ = (first_ + 1) & (slots_.size() - 1);
        --count_;
    }

private:
    void grow() {
        std::vector<T> larger(std::max<size_t>(16, 2 * slots_.size()));
        for (size_t n = 0; n < count_; ++n) larger[n] = at(n);
        slots_.swap(larger);
        first_ = 0;
    }

    std::vector<T> slots_;
    size_t first_ = 0, count_ = 0;
};

// Says with a given probability that something does not happen in this cycle.
class Stall {
public:
    // `place` keeps the signals of a machine apart from each other.
    void set(double probability, uint64_t seed, uint64_t place) {
        threshold_ = static_cast<uint64_t>(std::clamp(probability, 0.0, 1.0) * 4294967296.0);
        state_ = seed * 0x9e3779b97f4a7c15u + (place + 1) * 0xbf58476d1ce4e5b9u;
        state_ ^= state_ >> 31;
        state_ |= 1;  // zero would stay zero
        for (int n = 0; n < 4; ++n) next();
    }

    bool operator()() { return threshold_ != 0 && next() < threshold_; }

private:
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_ >> 32;
    }

    uint64_t threshold_ = 0, state_ = 1;
};

// What went wrong, in sentences.
class Log {
public:
    bool violated = false;  // the protocol was broken: what follows means nothing

    __attribute__((format(printf, 3, 4))) void add(uint64_t cycle, const char* format, ...) {
        if (++count_ > MOST) return;
        char line[256];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        text_ += "cycle " + std::to_string(cycle) + ": " + line + "\n";
    }

    const char* text() const { return text_.c_str(); }
    void clear() { text_.clear(), count_ = 0, violated = false; }

private:
    static constexpr size_t MOST = 100;
    size_t count_ = 0;
    std::string text_;
};

// Bytes that ports are writing: from the address of a burst to its answer. AXI does not say what a
// read of them returns that is issued in between, although the channels here serve both in order.
class Unanswered {
public:
    void add(const void* port, const uint8_t* begin, uint64_t bytes) {
        bursts_.push_back({port, begin, begin + bytes});
    }

    // The port's oldest burst is answered.
    void answered(const void* port) {
        for (size_t n = 0; n < bursts_.size(); ++n) {
            if (bursts_[n].port != port) continue;
            bursts_.erase(bursts_.begin() + n);
            return;
        }
    }

    bool has(const uint8_t* begin, uint64_t bytes) const {
        for (const Burst& burst : bursts_)
            if (begin < burst.end && burst.begin < begin + bytes) return true;
        return false;
    }

    void clear() { bursts_.clear(); }

private:
    struct Burst {
        const void* port;
        const uint8_t *begin, *end;
    };

    std::vector<Burst> bursts_;  // few, so a linear search is fast
};

// Regions of memory, each anonymous or a private copy of a file.
class Store {
public:
    Store() = default;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store() { clear(); }

    void clear() {
        for (Region& region : regions_) munmap(region.data, region.mapped);
        regions_.clear();
        last_ = 0;
    }

    // Map `bytes` at `address`; the file may be shorter, zeros follow. What is written stays here, or
    // goes to the file too where it is `shared`. Empty on success.
    std::string map(uint64_t address, uint64_t bytes, const char* path, bool shared = false) {
        for (const Region& region : regions_) {
            if (address < region.address + region.bytes && region.address < address + bytes)
                return "overlaps the region at " + std::to_string(region.address);
        }
        const size_t mapped = (bytes + PAGE - 1) / PAGE * PAGE;
        if (mapped == 0) return "is empty";
        void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data == MAP_FAILED) return std::string("cannot be mapped: ") + strerror(errno);
        if (path != nullptr) {
            const std::string error = over(data, bytes, path, shared);
            if (!error.empty()) {
                munmap(data, mapped);
                return error;
            }
        }
        regions_.push_back({address, bytes, static_cast<uint8_t*>(data), mapped});
        return "";
    }

    // Memory at an address, or null where no region has all of it.
    uint8_t* find(uint64_t address, uint64_t bytes, uint64_t slack = 0) {
        for (size_t n = 0; n < regions_.size(); ++n) {
            Region& region = regions_[last_];
            const uint64_t end = std::min<uint64_t>(region.bytes + slack, region.mapped);
            if (address >= region.address && address - region.address + bytes <= end)
                return region.data + (address - region.address);
            last_ = last_ + 1 == regions_.size() ? 0 : last_ + 1;
        }
        return nullptr;
    }

private:
    struct Region {
        uint64_t address, bytes;
        uint8_t* data;
        size_t mapped;
    };

    static std::string over(void* data, uint64_t bytes, const char* path, bool shared) {
        const int file = open(path, (shared ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        if (file < 0) return std::string("has no file ") + path + ": " + strerror(errno);
        struct stat about;
        std::string error;
        if (fstat(file, &about) != 0) {
            error = std::string("cannot read ") + path + ": " + strerror(errno);
        } else if (static_cast<uint64_t>(about.st_size) > bytes) {
            error = std::string("is smaller than ") + path;
        } else if (about.st_size > 0 &&
                   mmap(data, about.st_size, PROT_READ | PROT_WRITE,
                        (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, file, 0) == MAP_FAILED) {
            error = std::string("cannot map ") + path + ": " + strerror(errno);
        }
        close(file);
        return error;
    }

    std::vector<Region> regions_;
    size_t last_ = 0;  // the region that was found last
};

struct Request;

// Who asked: takes or gives one beat when the channel comes to it.
class Client {
public:
    virtual ~Client() = default;
    virtual void serve(const Request& request) = 0;
};

// A burst in the queue of a channel.
struct Request {
    Client* client;
    uint64_t eligible;  // first cycle in which it may be served
    uint8_t* data;      // where the next beat lies; null: outside every region
    int64_t cost;       // of a beat, in credit
    uint32_t beats;     // still to serve
    uint32_t beat_bytes;
    uint8_t id;
    bool write;
};

struct ChannelConfig {  // shared with Python: ChannelConfig of simulator.py
    int64_t rate;       // a cycle brings this much credit,
    int64_t byte_cost;  // and a byte costs that much
    uint64_t latency;   // cycles from the request to its first beat, at least 1
    uint64_t refresh_every, refresh_for, refresh_phase;
    uint64_t turn;         // cycles lost by a change from reads to writes, or back
    uint64_t outstanding;  // bursts per port and direction
    double stall_ar, stall_r, stall_aw, stall_w, stall_b;
    uint64_t seed;
};

class Channel {
public:
    const ChannelConfig config;
    Store store;

    explicit Channel(const ChannelConfig& c) : config(c), turn_(start()) {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel() { trace(nullptr); }

    int64_t cost(size_t bytes) {
        const int64_t beat = config.byte_cost * static_cast<int64_t>(bytes);
        limit_ = std::max(limit_, beat + config.rate);  // what is saved up while idle
        return beat;
    }

    Request& push(uint64_t cycle) {
        Request& request = queue_.push();
        request.eligible = cycle + config.latency;
        return request;
    }

    // Write every request from now on to a file, in the form that DRAM simulators read.
    bool trace(const char* path) {
        if (trace_ != nullptr) fclose(trace_);
        trace_ = path == nullptr ? nullptr : fopen(path, "w");
        return path == nullptr || trace_ != nullptr;
    }

    void note(uint64_t cycle, uint64_t address, uint64_t bytes, bool write) {
        if (trace_ == nullptr) return;
        for (uint64_t at = address / LINE * LINE; at < address + bytes; at += LINE)
            fprintf(trace_, "0x%llX %s %llu\n", static_cast<unsigned long long>(at),
                    write ? "WRITE" : "READ", static_cast<unsigned long long>(cycle));
    }

    void step(uint64_t cycle) {
        if (config.refresh_every != 0) {
            const bool refreshing = turn_ < config.refresh_for;
            if (++turn_ >= config.refresh_every) turn_ = 0;
            if (refreshing) return;
        }
        credit_ = std::min(credit_ + config.rate, limit_);
        while (!queue_.empty()) {
            Request& request = queue_.front();
            if (request.eligible > cycle) break;
            if (request.write != writing_) {
                writing_ = request.write;
                turned_ = cycle + config.turn;
            }
            if (turned_ > cycle) {
                credit_ = 0;
                break;
            }
            if (credit_ < request.cost) break;
            credit_ -= request.cost;
            request.client->serve(request);
            if (request.data != nullptr) request.data += request.beat_bytes;
            if (--request.beats == 0) queue_.pop();
        }
    }

    void reset() {
        queue_.clear();
        credit_ = 0;
        turn_ = start();
        writing_ = false;
        turned_ = 0;
    }

private:
    uint64_t start() const {
        return config.refresh_every ? config.refresh_phase % config.refresh_every : 0;
    }

    static constexpr uint64_t LINE = 64;  // bytes of an entry of a trace

    Ring<Request> queue_;
    int64_t credit_ = 0, limit_ = 0;
    uint64_t turn_;         // where it is in the rhythm of refreshes
    bool writing_ = false;  // direction of what was served last
    uint64_t turned_ = 0;   // first cycle after the last change of direction
    FILE* trace_ = nullptr;
};

}  // namespace lightmamba
