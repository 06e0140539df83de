// The SDRAM controller between random AXI traffic and the chip's model, and that alone, for ctypes.
//
// Each byte of memory has a history: what it held at first, and what each write, in the order of
// their addresses, put there. A read may give what the last write that was answered before it was
// asked left, or anything later.

#include <cstring>
#include <deque>
#include <random>
#include <unordered_map>

#include "Vtop.h"
#include "memory.hpp"
#include "sdram_chip.hpp"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))
#define AXI(name) top_.axi___05F##name
#define PIN(name) top_.pins___05F##name

namespace lightmamba {

struct Transaction {     // shared with Python: Transaction of support/sdram.py
    uint64_t address;    // a multiple of a beat
    uint32_t beats, id;
    uint32_t write;      // 0: read; 1: whole beats; 2: with random strobes
    uint32_t after;      // so many of the other kind were taken before it is offered
};

struct Setup {  // shared with Python
    int64_t sync_ps, sdram_ps, sync_phase_ps;
    int64_t lag_ps;  // of the chip's clock behind `sdram`, more than 0
    uint64_t capture, seed, early;  // early: traffic begins before the chip is ready
    int64_t limit_ps;
    double stall_ar, stall_r, stall_aw, stall_w, stall_b;
};

struct Outcome {  // shared with Python
    uint64_t wrong, violations, refreshes, bytes_read, bytes_written, finished;
    int64_t ready_ps, first_ps, last_ps;         // first address offered, last data or response
    int64_t read_wait_ps, write_wait_ps;         // the longest, from address offered to the end
    int64_t first_read_ps;                       // from the first read's transfer to its data
};

class Bench {
public:
    Bench(const Setup& setup, const SdramLimits& limits) : s_(setup), chip_(limits) {
        const double chances[] = {s_.stall_ar, s_.stall_r, s_.stall_aw, s_.stall_w, s_.stall_b};
        for (int n = 0; n < 5; ++n) stalls_[n].set(chances[n], s_.seed, n);
        random_.seed(s_.seed);
        uint8_t* bytes = chip_.bytes();
        for (size_t n = 0; n < SdramChip::BYTES; ++n) bytes[n] = initial(n);
    }

    Outcome run(const Transaction* list, uint64_t count) {
        for (uint64_t n = 0; n < count; ++n)
            (list[n].write ? writes_ : reads_).push_back({list[n]});
        top_.clk = top_.sdram_clk = 0;
        top_.rst = top_.sdram_rst = 1;
        top_.capture = s_.capture;
        top_.eval();
        int64_t sync = 1000 + s_.sync_phase_ps, sdram = 1000, chip = sdram + s_.lag_ps;
        while (true) {
            const int64_t now = std::min({sync, sdram, chip});
            const bool at_sync = now == sync, at_sdram = now == sdram, at_chip = now == chip;
            if (now > s_.limit_ps) break;
            if (at_sdram) {
                PIN(dq_i) = PIN(dq_oe) ? PIN(dq_o) : chip_.dq(now);
                top_.eval();
            }
            const SdramPins pins = sampled();
            if (at_sync) sample(now);
            if (at_sync) top_.clk = 1;
            if (at_sdram) top_.sdram_clk = 1;
            if (at_sync || at_sdram) top_.eval();
            if (at_chip) chip_.tick(pins, now);
            if (at_sync) {
                if (++cycle_ == 20) top_.rst = top_.sdram_rst = 0;
                drive(now);
                top_.clk = 0;
            }
            if (at_sdram) top_.sdram_clk = 0;
            top_.eval();
            if (at_sync) sync += s_.sync_ps;
            if (at_sdram) sdram += s_.sdram_ps;
            if (at_chip) chip += s_.sdram_ps;
            if (taken_r_ == reads_.size() && answered_ == writes_.size() && top_.ready) {
                // What is written reaches the chip, and nothing else comes.
                if (at_sdram && ++rest_ > 1000) break;
            }
        }
        o_.finished = taken_r_ == reads_.size() && answered_ == writes_.size();
        if (o_.finished) compare();
        o_.violations = chip_.count();
        o_.refreshes = chip_.refreshes();
        text_ += chip_.violations();
        return o_;
    }

    const char* text() const { return text_.c_str(); }

private:
    struct Job {
        Transaction t;
        int64_t offered = 0;
        std::vector<uint32_t> least;              // of each byte read, its oldest version
        std::vector<uint8_t> data, strobes;       // to write
        std::vector<std::pair<uint64_t, uint32_t>> versions;  // byte and version written
    };
    struct History {
        std::vector<uint8_t> values;
        uint32_t committed = 0;
    };

    static constexpr uint32_t BEAT = sizeof(std::declval<Vtop&>().axi___05Frdata);

    static uint8_t initial(uint64_t place) {
        return static_cast<uint8_t>((place * 0x9e3779b97f4a7c15u) >> 37);
    }

    __attribute__((format(printf, 3, 4))) void wrong(int64_t now, const char* format, ...) {
        if (++o_.wrong > 20) return;
        char line[200];
        va_list values;
        va_start(values, format);
        vsnprintf(line, sizeof line, format, values);
        va_end(values);
        text_ += std::to_string(now / 1000) + " ns: " + line + "\n";
    }

    SdramPins sampled() const {
        SdramPins p;
        p.cke = PIN(cke), p.cs_n = PIN(cs_n), p.ras_n = PIN(ras_n), p.cas_n = PIN(cas_n);
        p.we_n = PIN(we_n), p.ba = PIN(ba), p.a = PIN(a), p.dqm = PIN(dqm);
        p.dq = PIN(dq_o), p.dq_oe = PIN(dq_oe);
        return p;
    }

    static uint64_t place(const Transaction& t, uint64_t byte) {
        return (t.address + byte) % SdramChip::BYTES;
    }

    History& history(uint64_t place) {
        History& h = histories_[place];
        if (h.values.empty()) h.values.push_back(initial(place));
        return h;
    }

    // Transfers of this cycle.
    void sample(int64_t now) {
        if (top_.ready && o_.ready_ps == 0) o_.ready_ps = now;
        if (top_.rst) return;
        if (AXI(arvalid) && AXI(arready)) {
            if (taken_ar_++ == 0) first_taken_ = now;
            ar_ = false;
        }
        if (AXI(awvalid) && AXI(awready)) ++taken_aw_, aw_ = false;
        if (AXI(wvalid) && AXI(wready)) {
            w_ = false;
            o_.bytes_written += BEAT;
            if (++beat_w_ == writes_[data_w_].t.beats) beat_w_ = 0, ++data_w_;
        }
        hold(AXI(rvalid), AXI(rready), {AXI(rdata), AXI(rid), AXI(rlast)}, held_r_, "R", now);
        hold(AXI(bvalid), AXI(bready), {0, AXI(bid), 0}, held_b_, "B", now);
        if (AXI(rvalid) && AXI(rready)) read(now);
        if (AXI(bvalid) && AXI(bready)) answered(now);
    }

    // Payload stays until it is taken.
    void hold(bool valid, bool ready, std::array<uint64_t, 3> payload,
              std::pair<bool, std::array<uint64_t, 3>>& held, const char* name, int64_t now) {
        if (held.first && (!valid || payload != held.second))
            wrong(now, "%s changed before it was taken", name);
        held = {valid && !ready, payload};
    }

    void read(int64_t now) {
        if (taken_r_ >= taken_ar_) return wrong(now, "data that nobody asked for");
        if (o_.first_read_ps == 0) o_.first_read_ps = now - first_taken_;
        Job& job = reads_[taken_r_];
        const uint64_t data = AXI(rdata);
        if (AXI(rid) != job.t.id || AXI(rresp) != 0)
            wrong(now, "read %zu: id or response", taken_r_);
        if (AXI(rlast) != (beat_r_ + 1 == job.t.beats))
            wrong(now, "read %zu: last at beat %u", taken_r_, beat_r_);
        for (uint32_t n = 0; n < BEAT; ++n) {
            const uint64_t byte = uint64_t{beat_r_} * BEAT + n, at = place(job.t, byte);
            const uint8_t value = data >> 8 * n;
            const auto found = histories_.find(at);
            bool right = false;
            if (found == histories_.end()) {
                right = value == initial(at);
            } else {
                const std::vector<uint8_t>& values = found->second.values;
                for (size_t v = job.least[byte]; v < values.size(); ++v)
                    right |= values[v] == value;
            }
            if (!right) {
                wrong(now, "read %zu at 0x%llx: %02x", taken_r_,
                      static_cast<unsigned long long>(at), value);
                break;
            }
        }
        o_.bytes_read += BEAT;
        o_.last_ps = now;
        if (++beat_r_ < job.t.beats) return;
        o_.read_wait_ps = std::max(o_.read_wait_ps, now - job.offered);
        job.least = {};
        beat_r_ = 0, ++taken_r_;
    }

    void answered(int64_t now) {
        if (answered_ >= taken_aw_ || answered_ >= data_w_)
            return wrong(now, "a response too early");
        Job& job = writes_[answered_];
        if (AXI(bid) != job.t.id || AXI(bresp) != 0)
            wrong(now, "write %zu: id or response", answered_);
        for (auto& [at, version] : job.versions) {
            History& h = histories_[at];
            h.committed = std::max(h.committed, version);
        }
        o_.write_wait_ps = std::max(o_.write_wait_ps, now - job.offered);
        job.versions = {};
        o_.last_ps = now;
        ++answered_;
    }

    // What is offered until the next edge.
    void drive(int64_t now) {
        // The reset may have a register of its own (sim/library.py).
        if (cycle_ < 21 || !(top_.ready || s_.early)) return;
        if (!ar_ && offered_ar_ < reads_.size() &&
            reads_[offered_ar_].t.after <= taken_aw_ && !stalls_[0]()) {
            Job& job = reads_[offered_ar_++];
            begin(job, now);
            for (uint64_t n = 0; n < uint64_t{job.t.beats} * BEAT; ++n) {
                const auto found = histories_.find(place(job.t, n));
                job.least.push_back(found == histories_.end() ? 0 : found->second.committed);
            }
            AXI(araddr) = job.t.address, AXI(arlen) = job.t.beats - 1, AXI(arid) = job.t.id;
            ar_ = true;
        }
        AXI(arvalid) = ar_;
        if (!aw_ && offered_aw_ < writes_.size() &&
            writes_[offered_aw_].t.after <= taken_ar_ && !stalls_[2]()) {
            Job& job = writes_[offered_aw_];
            prepare(offered_aw_++);
            begin(job, now);
            for (uint64_t n = 0; n < job.data.size(); ++n) {
                History& h = history(place(job.t, n));
                if (!job.strobes[n]) continue;
                h.values.push_back(job.data[n]);
                job.versions.emplace_back(place(job.t, n), h.values.size() - 1);
            }
            AXI(awaddr) = job.t.address, AXI(awlen) = job.t.beats - 1, AXI(awid) = job.t.id;
            aw_ = true;
        }
        AXI(awvalid) = aw_;
        // Data may be a burst ahead of their address, or behind it.
        if (!w_ && data_w_ < writes_.size() && data_w_ <= offered_aw_ &&
            writes_[data_w_].t.after <= taken_ar_ && !stalls_[3]()) {
            prepare(data_w_);
            const Job& job = writes_[data_w_];
            uint64_t data = 0, strobe = 0;
            for (uint32_t n = 0; n < BEAT; ++n) {
                const uint64_t byte = uint64_t{beat_w_} * BEAT + n;
                data |= uint64_t{job.strobes[byte] ? job.data[byte] : uint8_t(random_())} << 8 * n;
                strobe |= uint64_t{job.strobes[byte]} << n;
            }
            AXI(wdata) = data, AXI(wstrb) = strobe, AXI(wlast) = beat_w_ + 1 == job.t.beats;
            w_ = true;
        }
        AXI(wvalid) = w_;
        AXI(rready) = !stalls_[1]();
        AXI(bready) = !stalls_[4]();
    }

    void begin(Job& job, int64_t now) {
        if (o_.first_ps == 0) o_.first_ps = now;
        job.offered = now;
    }

    void prepare(size_t n) {
        Job& job = writes_[n];
        if (!job.data.empty()) return;
        for (uint64_t k = 0; k < uint64_t{job.t.beats} * BEAT; ++k) {
            job.data.push_back(random_());
            job.strobes.push_back(job.t.write == 1 || random_() % 2);
        }
    }

    // At the end every byte of the chip holds its last version.
    void compare() {
        const uint8_t* bytes = chip_.bytes();
        for (size_t n = 0; n < SdramChip::BYTES; ++n) {
            const auto found = histories_.find(n);
            const uint8_t last =
                found == histories_.end() ? initial(n) : found->second.values.back();
            if (bytes[n] != last)
                wrong(0, "0x%zx holds %02x at the end, not %02x", n, bytes[n], last);
        }
    }

    Setup s_;
    Vtop top_;
    SdramChip chip_;
    Outcome o_{};
    Stall stalls_[5];
    std::mt19937 random_;
    std::vector<Job> reads_, writes_;
    std::unordered_map<uint64_t, History> histories_;
    size_t offered_ar_ = 0, taken_ar_ = 0, taken_r_ = 0;
    size_t offered_aw_ = 0, taken_aw_ = 0, data_w_ = 0, answered_ = 0;
    uint32_t beat_r_ = 0, beat_w_ = 0;
    uint64_t cycle_ = 0, rest_ = 0;
    int64_t first_taken_ = 0;
    bool ar_ = false, aw_ = false, w_ = false;
    std::pair<bool, std::array<uint64_t, 3>> held_r_{}, held_b_{};
    std::string text_;
};

}  // namespace lightmamba

using namespace lightmamba;

EXPORT Bench* bench_new(const Setup* setup, const SdramLimits* limits) {
    return new Bench(*setup, *limits);
}
EXPORT void bench_run(Bench* bench, const Transaction* list, uint64_t count, Outcome* outcome) {
    *outcome = bench->run(list, count);
}
EXPORT const char* bench_text(const Bench* bench) { return bench->text(); }
EXPORT void bench_delete(Bench* bench) { delete bench; }

// The chip's model alone.
EXPORT SdramChip* chip_new(const SdramLimits* limits) { return new SdramChip(*limits); }
EXPORT void chip_delete(SdramChip* chip) { delete chip; }
EXPORT uint8_t* chip_bytes(SdramChip* chip) { return chip->bytes(); }
EXPORT const char* chip_text(const SdramChip* chip) { return chip->violations().c_str(); }
EXPORT int chip_dq(const SdramChip* chip, int64_t now) { return chip->dq(now); }
EXPORT int chip_drives(const SdramChip* chip) { return chip->drives(); }
EXPORT void chip_tick(SdramChip* chip, int64_t now, int command, int bank,
                      int address, int dqm, int dq, int oe) {
    SdramPins p;
    p.cke = (command & 16) == 0, p.cs_n = (command & 8) != 0;
    p.ras_n = command >> 2 & 1, p.cas_n = command >> 1 & 1, p.we_n = command & 1;
    p.ba = bank, p.a = address, p.dqm = dqm, p.dq = dq, p.dq_oe = oe;
    chip->tick(p, now);
}
