// A board: the system of soc/ulx3s.py between a serial line and the model of its SDRAM, for ctypes.
//
// Time is in picoseconds. The two clocks and that of the chip are edges at their own times. A pulse
// of `phase_step` moves the chip's clock by a step, as the PLL does. Pads and the board delay what
// comes back from the chip by `round_trip`.

#include <cmath>
#include <cstring>
#include <deque>

#include "Vtop.h"
#include "sdram_chip.hpp"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace lightmamba {

struct BoardSetup {  // shared with Python: Setup of sim/board.py
    double sync, sdram, shift, step;  // periods; of the chip's clock behind the controller's; of the phase
    double round_trip, bit;           // of data from the chip; of the line's bits, as the host has them
    SdramLimits chip;
};

class Board {
public:
    explicit Board(const BoardSetup& setup) : s_(setup) {
        top_.rx = 1;
        top_.sync_rst = top_.sdram_rst = 1;
        top_.eval();
    }

    uint8_t* memory() { return chip_.bytes(); }
    const char* violations() const { return chip_.violations().c_str(); }
    uint64_t broken() const { return chip_.count(); }
    uint64_t refreshes() const { return chip_.refreshes(); }
    double now() const { return now_; }
    uint32_t leds() const { return top_.leds; }
    void bit(double time) { s_.bit = time; }

    void send(const uint8_t* data, uint64_t count) { line_.insert(line_.end(), data, data + count); }

    uint64_t take(uint8_t* to, uint64_t most) {
        const uint64_t count = std::min<uint64_t>(most, received_.size());
        std::copy_n(received_.begin(), count, to);
        received_.erase(received_.begin(), received_.begin() + count);
        return count;
    }

    // Run for at most `time`, until `wanted` characters wait; returns how many do.
    uint64_t run(uint64_t wanted, double time) {
        const double end = now_ + time;
        while (now_ < end && received_.size() < wanted) edge();
        return received_.size();
    }

    // Run until all that was sent is on the line.
    void flush() {
        while (!line_.empty() || sending_) edge();
    }

private:
    void edge() {
        const double next = std::min({sync_, sdram_, chip_at_});
        const bool at_sync = next == sync_, at_sdram = next == sdram_, at_chip = next == chip_at_;
        now_ = next;
        // A clock falls with the next edge of another one, or just before it rises again.
        if (at_sync || at_sdram) {
            const bool again = (at_sync && top_.sync_clk) || (at_sdram && top_.sdram_clk);
            top_.sync_clk = top_.sdram_clk = 0;
            if (again) top_.eval();
        }
        if (at_chip) {
            const uint32_t c = top_.commands;
            chip_.tick({.cke = bool(c & 1), .cs_n = bool(c >> 1 & 1), .ras_n = bool(c >> 2 & 1),
                        .cas_n = bool(c >> 3 & 1), .we_n = bool(c >> 4 & 1),
                        .ba = uint8_t(c >> 5 & 3), .dqm = uint8_t(c >> 20 & 3),
                        .a = uint16_t(c >> 7 & 0x1fff), .dq = top_.dq_o, .dq_oe = top_.dq_t != 0xffff},
                       std::llround(now_));
            chip_at_ += s_.sdram;
        }
        if (at_sdram) {
            const uint16_t back = chip_.dq(std::llround(now_ - s_.round_trip));
            top_.dq_i = (back & top_.dq_t) | (top_.dq_o & ~top_.dq_t);
            top_.sdram_clk = 1;
            sdram_ += s_.sdram;
        }
        if (at_sync) {
            serial();
            top_.sync_clk = 1;
            sync_ += s_.sync;
        }
        if (!(at_sync || at_sdram)) return;
        top_.eval();
        if (at_sync) {
            if (++cycles_ == RESET) top_.sync_rst = top_.sdram_rst = 0;
            phase();
        }
    }

    // A step ends with the pulse.
    void phase() {
        if (stepping_ && !top_.phase_step) chip_at_ += top_.phase_later ? s_.step : -s_.step;
        while (chip_at_ <= now_) chip_at_ += s_.sdram;
        stepping_ = top_.phase_step;
    }

    // The line, as the board samples it: characters to it, and from it.
    void serial() {
        if (sending_ && now_ - sent_at_ >= 10 * s_.bit) sending_ = false;
        if (!sending_ && !line_.empty()) {
            sending_ = true;
            sent_at_ = now_;
            character_ = (line_.front() << 1) | 0x200;
            line_.pop_front();
        }
        top_.rx = sending_ ? character_ >> int((now_ - sent_at_) / s_.bit) & 1 : 1;

        if (bits_ < 0 && !top_.tx) {
            bits_ = 0;
            sample_at_ = now_ + 1.5 * s_.bit;
            value_ = 0;
        } else if (bits_ >= 0 && now_ >= sample_at_) {
            if (bits_ < 8) value_ |= top_.tx << bits_;
            sample_at_ += s_.bit;
            if (++bits_ == 9) {
                bits_ = -1;
                received_.push_back(value_);
            }
        }
    }

    static constexpr uint64_t RESET = 20;
    BoardSetup s_;
    VerilatedContext context_;
    Vtop top_{&context_};
    SdramChip chip_{s_.chip};
    double now_ = 0, sync_ = 1000, sdram_ = 1000, chip_at_ = 1000 + s_.shift;
    uint64_t cycles_ = 0;
    bool stepping_ = false, sending_ = false;
    double sent_at_ = 0, sample_at_ = 0;
    int bits_ = -1;
    uint32_t character_ = 0, value_ = 0;
    std::deque<uint8_t> line_, received_;
};

}  // namespace lightmamba

using lightmamba::Board;
using lightmamba::BoardSetup;

EXPORT Board* board_new(const BoardSetup* setup) { return new Board(*setup); }
EXPORT void board_free(Board* board) { delete board; }
EXPORT uint8_t* board_memory(Board* board) { return board->memory(); }
EXPORT void board_send(Board* board, const uint8_t* data, uint64_t count) { board->send(data, count); }
EXPORT uint64_t board_take(Board* board, uint8_t* to, uint64_t most) { return board->take(to, most); }
EXPORT uint64_t board_run(Board* board, uint64_t wanted, double time) { return board->run(wanted, time); }
EXPORT void board_flush(Board* board) { board->flush(); }
EXPORT void board_bit(Board* board, double time) { board->bit(time); }
EXPORT double board_now(Board* board) { return board->now(); }
EXPORT uint32_t board_leds(Board* board) { return board->leds(); }
EXPORT uint64_t board_broken(Board* board) { return board->broken(); }
EXPORT uint64_t board_refreshes(Board* board) { return board->refreshes(); }
EXPORT const char* board_violations(Board* board) { return board->violations(); }
