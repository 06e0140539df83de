// A 16-bit single data rate SDRAM: 4 banks of 8,192 rows of 512 columns, with checks of its timing.
//
// `tick` is called at each rising edge of the chip's clock, with the pins as they are then and the
// time. What breaks the chip's rules is recorded in a sentence, and the chip goes on as well as it
// can. Times are picoseconds, so that any clock, also a changing one, is checked.
//
// Not modelled: self refresh, power down, interleaved and full-page bursts, burst stop, single
// writes: their use is recorded as a violation.

#pragma once

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace lightmamba {

struct SdramPins {  // at a rising edge of the chip's clock
    bool cke = false, cs_n = true, ras_n = true, cas_n = true, we_n = true;
    uint8_t ba = 0, dqm = 3;
    uint16_t a = 0, dq = 0;
    bool dq_oe = false;  // the controller drives dq
};

struct SdramLimits {  // picoseconds and counts, in the order of Limits of sim/sdram_chips.py
    int64_t rcd, rp, ras, ras_most, rc, rfc, rrd;
    int64_t wr, wr_cycles, mrd, mrd_cycles;
    int64_t refreshes, refresh_period;
    int64_t power_up;
    int64_t cas2, cas3;              // shortest period of the clock, by CAS latency
    int64_t access2, access3, hold;  // data valid so long after an edge, and after the next one
    int64_t refreshes_late;
};

class SdramChip {
public:
    static constexpr int BANKS = 4, ROWS = 8192, COLUMNS = 512;
    static constexpr size_t BYTES = size_t{2} * BANKS * ROWS * COLUMNS;

    explicit SdramChip(const SdramLimits& limits) : t_(limits), cells_(BYTES / 2) {
        refreshed_.reserve(t_.refreshes);
    }

    // The cells as bytes: ((row * 4 + bank) * 512 + column) * 2, the low half of a word first.
    uint8_t* bytes() { return reinterpret_cast<uint8_t*>(cells_.data()); }

    // Violations, one line each with cycle and sentence (the first 100), and how many.
    const std::string& violations() const { return text_; }
    uint64_t count() const { return count_; }
    uint64_t refreshes() const { return done_; }

    // What is on the data lines at a time after the last tick. Garbage, where nobody drives them.
    uint16_t dq(int64_t now) const {
        if (now < edge_ + t_.hold && before_.driven) return before_.data;
        if (now >= edge_ + (cas_ == 2 ? t_.access2 : t_.access3) && after_.driven) return after_.data;
        return static_cast<uint16_t>(0x9e37 * (cycle_ + 1) ^ 0xa5c3);
    }

    // Whether the chip drives the data lines after the last tick.
    bool drives() const { return after_.driven; }

    void tick(const SdramPins& pins, int64_t now) {
        period_ = cycle_ == 0 ? 0 : now - edge_;
        ++cycle_;
        if (cycle_ == 1) begun_ = now;
        edge_ = now;
        before_ = after_;
        contention(pins);
        if (cycle_ > 1 && period_ < (cas_ == 2 ? t_.cas2 : t_.cas3))
            say("clock period %lld ps is too short for CAS latency %d",
                static_cast<long long>(period_), cas_);
        mask_ = {mask_[1], pins.dqm};
        if (pins.cke) {
            if (!pins.cs_n) command(pins);
        } else if (ready_) {
            say("CKE is low: power down is not modelled");
        }
        write(pins);
        read();
        refresh_debt();
    }

private:
    struct Bank {
        bool open = false;
        int row = 0;
        int64_t activated = FAR, precharged = FAR, written = FAR;
        uint64_t written_cycle = 0;
    };
    struct Word {
        bool driven = false;
        uint16_t data = 0;
    };
    struct Burst {
        bool active = false;
        int bank = 0, row = 0, column = 0, done = 0;
        uint64_t begin = 0;  // first cycle of data
    };
    static constexpr int64_t FAR = -1'000'000'000'000;
    static constexpr uint64_t MOST = 100;

    __attribute__((format(printf, 2, 3))) void say(const char* format, ...) {
        if (++count_ > MOST) return;
        char line[200];
        va_list values;
        va_start(values, format);
        vsnprintf(line, sizeof line, format, values);
        va_end(values);
        text_ += "cycle " + std::to_string(cycle_) + ": " + line + "\n";
    }

    void spaced(const char* name, int64_t since, int64_t least, int bank) {
        if (edge_ - since < least)
            say("%s of bank %d: %lld ps instead of %lld", name, bank,
                static_cast<long long>(edge_ - since), static_cast<long long>(least));
    }

    void counted(const char* name, uint64_t since, int64_t least) {
        if (since != 0 && cycle_ - since < static_cast<uint64_t>(least))
            say("%s: %d cycles instead of %d", name, static_cast<int>(cycle_ - since),
                static_cast<int>(least));
    }

    void contention(const SdramPins& pins) {
        if (pins.dq_oe && before_.driven)
            say("the controller drives the data lines while the chip does");
        if (pins.dq_oe && drove_ && !before_.driven)
            say("the controller drives the data lines without a cycle of rest after the chip");
        drove_ = before_.driven;
    }

    void command(const SdramPins& p) {
        const int code = p.ras_n << 2 | p.cas_n << 1 | p.we_n;
        if (code == 7) return;  // no operation
        if (edge_ - begun_ < t_.power_up) say("a command before the power-up wait is over");
        if (code != 2 && step_ == 0) say("the first command is not PRECHARGE ALL");
        if (edge_ - last_refresh_ < t_.rfc) spaced("tRFC", last_refresh_, t_.rfc, p.ba);
        spaced("tMRD", mode_set_at_, t_.mrd, p.ba);
        counted("tMRD", mode_set_, t_.mrd_cycles);
        switch (code) {
            case 3: activate(p); break;
            case 5: column(p, false); break;
            case 4: column(p, true); break;
            case 2: precharge(p); break;
            case 1: refresh(); break;
            case 0: mode(p); break;
            default: say("BURST STOP is not modelled");
        }
    }

    void activate(const SdramPins& p) {
        if (!ready_) say("ACTIVE before the initialization is complete");
        Bank& bank = banks_[p.ba];
        if (bank.open) say("ACTIVE of bank %d, which is open", p.ba);
        spaced("tRP", bank.precharged, t_.rp, p.ba);
        spaced("tRC", bank.activated, t_.rc, p.ba);
        for (int n = 0; n < BANKS; ++n)
            if (n != p.ba) spaced("tRRD", banks_[n].activated, t_.rrd, p.ba);
        bank.open = true;
        bank.row = p.a & (ROWS - 1);
        bank.activated = edge_;
    }

    void column(const SdramPins& p, bool writes) {
        const char* name = writes ? "WRITE" : "READ";
        Bank& bank = banks_[p.ba];
        if (!bank.open) say("%s of bank %d, which is closed", name, p.ba);
        spaced("tRCD", bank.activated, t_.rcd, p.ba);
        if ((p.a >> 10 & 1) != 0) say("auto precharge is not modelled");
        if ((p.a & 0x3ff) >= COLUMNS) say("%s of column %d, and there are 512", name, p.a & 0x3ff);
        write_.active = false;  // either command ends a write at once
        const Burst burst{true, p.ba, bank.row, p.a & (COLUMNS - 1), 0,
                          cycle_ + (writes ? 0 : cas_ - 1)};
        if (writes) {
            write_ = burst;
            for (Burst& read : reads_) read.active = false;  // a write ends them too
        } else {
            reads_[newest_ = (newest_ + 1) % reads_.size()] = burst;
        }
    }

    void precharge(const SdramPins& p) {
        const bool all = (p.a >> 10 & 1) != 0;
        if (step_ == 0 && !all) say("the first command is not PRECHARGE ALL");
        if (all && step_ == 0) step_ = 1;
        for (int n = 0; n < BANKS; ++n) {
            Bank& bank = banks_[n];
            if (!all && n != p.ba) continue;
            if (bank.open) {
                spaced("tRAS", bank.activated, t_.ras, n);
                if (edge_ - bank.activated > t_.ras_most)
                    say("a row of bank %d was open too long", n);
                spaced("tWR", bank.written, t_.wr, n);
                counted("tWR", bank.written_cycle, t_.wr_cycles);
                if (write_.active && write_.bank == n)
                    say("PRECHARGE of bank %d during a write", n);
                // CL + BL - 2 cycles after READ, as ESMT's datasheets say; others allow BL.
                for (const Burst& r : reads_)
                    if (r.active && r.bank == n && r.begin + length_ - 1 > cycle_)
                        say("PRECHARGE of bank %d cuts a read", n);
            }
            if (bank.open || all) bank.precharged = edge_;
            bank.open = false;
        }
    }

    void refresh() {
        for (int n = 0; n < BANKS; ++n) {
            if (banks_[n].open) say("AUTO REFRESH while bank %d is open", n);
            spaced("tRP", banks_[n].precharged, t_.rp, n);
        }
        last_refresh_ = edge_;
        ++early_;
        if (!ready_) return;
        const size_t slot = done_++ % t_.refreshes;  // each row has its turn
        if (refreshed_.size() <= slot) {
            refreshed_.push_back(edge_);
            return;
        }
        if (edge_ - refreshed_[slot] > t_.refresh_period)
            say("a row was refreshed after %lld us",
                static_cast<long long>(edge_ - refreshed_[slot]) / 1'000'000);
        refreshed_[slot] = edge_;
    }

    void mode(const SdramPins& p) {
        for (int n = 0; n < BANKS; ++n) {
            if (banks_[n].open) say("LOAD MODE REGISTER while bank %d is open", n);
            spaced("tRP", banks_[n].precharged, t_.rp, n);
        }
        if (early_ < 2) say("LOAD MODE REGISTER after %d refreshes instead of 2", early_);
        const int cas = p.a >> 4 & 7, length = p.a & 7;
        if (cas != 2 && cas != 3) say("CAS latency %d", cas);
        if (length > 3) say("burst length code %d is not modelled", length);
        if ((p.a >> 3 & 1) != 0 || (p.a >> 7) != 0 || p.ba != 0)
            say("mode 0x%x is not modelled", p.a);
        cas_ = cas == 2 ? 2 : 3;
        length_ = 1 << std::min(length, 3);
        mode_set_ = cycle_;
        mode_set_at_ = edge_;
        if (!ready_) ready_at_ = edge_;
        ready_ = true;
    }

    // Place of the next word of a burst; it wraps within its length.
    size_t place(const Burst& burst) const {
        const int low = (burst.column + burst.done) & (length_ - 1);
        const int column = (burst.column & ~(length_ - 1)) | low;
        return (static_cast<size_t>(burst.row) * BANKS + burst.bank) * COLUMNS + column;
    }

    void write(const SdramPins& p) {
        if (!write_.active) return;
        if (p.dqm != 3 && !p.dq_oe) say("WRITE takes data lines that nobody drives");
        uint16_t& cell = cells_[place(write_)];
        const uint16_t keep = ((p.dqm & 1) != 0 ? 0x00ff : 0) | ((p.dqm & 2) != 0 ? 0xff00 : 0);
        cell = static_cast<uint16_t>((cell & keep) | (p.dq & ~keep));
        banks_[write_.bank].written = edge_;
        banks_[write_.bank].written_cycle = cycle_;
        if (++write_.done == length_) write_.active = false;
    }

    // Drive the data of the youngest read that has begun.
    void read() {
        after_ = {};
        Burst* read = nullptr;
        for (Burst& burst : reads_)
            if (burst.active && burst.begin <= cycle_ && (!read || burst.begin > read->begin)) {
                if (read) read->active = false;
                read = &burst;
            } else if (read && burst.begin < read->begin) {
                burst.active = false;
            }
        if (!read) return;
        const uint8_t masked = mask_[0];  // DQM acts on the data two cycles later
        const uint16_t data = cells_[place(*read)];
        after_ = {masked != 3, static_cast<uint16_t>(masked == 0 ? data : ~data)};
        if (++read->done == length_) read->active = false;
    }

    void refresh_debt() {
        if (!ready_ || late_) return;
        const double due =
            static_cast<double>(edge_ - ready_at_) * t_.refreshes / t_.refresh_period;
        if (due - static_cast<double>(done_) <= static_cast<double>(t_.refreshes_late)) return;
        say("%d refreshes are overdue", static_cast<int>(due - static_cast<double>(done_)));
        late_ = true;  // once is enough
    }

    SdramLimits t_;
    std::vector<uint16_t> cells_;
    std::array<Bank, BANKS> banks_;
    Burst write_;
    std::array<Burst, 4> reads_;  // those before their data, and the one that gives them
    size_t newest_ = 0;
    Word before_, after_;
    std::array<uint8_t, 2> mask_{3, 3};
    int cas_ = 3, length_ = 1, step_ = 0, early_ = 0;
    bool ready_ = false, drove_ = false, late_ = false;
    uint64_t cycle_ = 0, mode_set_ = 0, count_ = 0, done_ = 0;
    int64_t edge_ = 0, begun_ = 0, period_ = 0, ready_at_ = 0, last_refresh_ = FAR;
    int64_t mode_set_at_ = FAR;
    std::vector<int64_t> refreshed_;
    std::string text_;
};

}  // namespace lightmamba
