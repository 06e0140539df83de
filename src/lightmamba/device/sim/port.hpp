// One AXI4 master of the machine, answered by a channel, or by several with an address range each.
//
// Everything that the model drives follows from what happened up to the last clock edge, as if it
// came from registers. Data of a port come in order, whatever their ids. So a burst to another
// channel than the one before waits until those before it are answered, as in interconnects that
// allow one target at a time (AMD PG059, PG247).

#pragma once

#include "memory.hpp"
#include "signals.hpp"

namespace lightmamba {

struct PortCounters {  // shared with Python: PortCounters of simulator.py
    uint64_t bytes_read = 0, bytes_written = 0;
    uint64_t read_bursts = 0, write_bursts = 0;
    uint64_t wait = 0;        // cycles in which data were owed and none were there
    uint64_t blocked = 0;     // cycles in which data were there and RREADY was 0
    uint64_t write_wait = 0;  // cycles in which a beat to write was not taken
};

// A wrong answer, planted for a test: the first one that can be wrong in this way after some others.
enum class Wrong : uint64_t { NOTHING, SLVERR, DECERR, EARLY_LAST, NO_LAST };

class Port : public Client {
public:
    PortCounters counters;

    Port(const PortSignals& signals, Log& log, Unanswered& unanswered)
        : s_(signals), log_(log), unanswered_(unanswered) {}

    void attach(Channel& channel, uint64_t number) {
        const ChannelConfig& c = channel.config;
        channels_.push_back({&channel, channel.cost(s_.bytes)});
        if (channels_.size() != 1) return;  // stalls and limits are those of the first
        const double chance[] = {c.stall_ar, c.stall_r, c.stall_aw, c.stall_w, c.stall_b};
        Stall* stalls[] = {&stall_ar_, &stall_r_, &stall_aw_, &stall_w_, &stall_b_};
        for (uint64_t n = 0; n < 5; ++n) stalls[n]->set(chance[n], c.seed, 5 * number + n);
    }

    void reset() {
        arrived_.clear(), opened_.clear(), written_.clear(), answers_.clear();
        held_read_.clear(), held_write_.clear();
        owed_ = reads_ = writes_ = uncollected_ = collected_ = cut_ = 0;
        wrong_beat_ = wrong_response_ = Wrong::NOTHING;
        read_from_ = write_to_ = 0;
        drive_r(false), drive_b(false);
        s_.arready.set(0), s_.awready.set(0), s_.wready.set(0);
    }

    // Answer wrongly once, after `after` right beats of reads, or right responses to writes.
    void plant(Wrong wrong, bool write, uint64_t after) {
        (write ? wrong_response_ : wrong_beat_) = wrong;
        (write ? responses_before_ : beats_before_) = after;
    }

    // Take the transfers of this cycle; outputs have settled. Whether there was any.
    bool sample(uint64_t cycle) {
        bool moved = false;
        if (s_.rvalid.high()) {
            if (s_.rready.high()) {
                counters.bytes_read += s_.bytes;
                --owed_;
                reads_ -= arrived_.front().ends;
                arrived_.pop();
                drive_r_ = moved = true;
            } else {
                ++counters.blocked;
            }
        } else if (owed_ != 0) {
            ++counters.wait;
        }
        if (s_.arvalid.high() && s_.arready.high()) accept_read(cycle), moved = true;
        if (s_.wvalid.high()) {
            if (s_.wready.high()) {
                accept_data();
                moved = true;
            } else {
                ++counters.write_wait;
            }
        }
        if (s_.awvalid.high() && s_.awready.high()) accept_write(cycle), moved = true;
        if (uncollected_ != 0 && !opened_.empty()) collect(cycle);
        release(cycle);
        if (s_.bvalid.high() && s_.bready.high()) {
            --writes_;
            answers_.pop();
            unanswered_.answered(this);
            drive_b_ = moved = true;
        }
        return moved;
    }

    // One beat of a request is served: read from memory, or written to it.
    void serve(const Request& request) override {
        if (request.write) {
            Beat& beat = written_.front();
            if (request.data != nullptr) write(request.data, beat);
            written_.pop();
            if (request.beats == 1) answers_.push() = {request.id, written(request)};
            return;
        }
        if (cut_ != 0) {  // the burst has ended early
            --cut_, --owed_;
            return;
        }
        Beat& beat = arrived_.push();
        beat.id = request.id;
        beat.response = response(request);
        beat.last = beat.ends = request.beats == 1;
        if (wrong_beat_ != Wrong::NOTHING) spoil(request, beat);
        if (request.data != nullptr) {
            std::memcpy(beat.data, request.data, s_.bytes);
        } else {
            std::memset(beat.data, 0, s_.bytes);
        }
    }

    // Drive the inputs of the next cycle.
    void drive() {
        const uint64_t most = channels_.front().channel->config.outstanding;
        s_.arready.set(reads_ < most && held_read_.empty() && !stall_ar_());
        if (drive_r_ || !s_.rvalid.high()) drive_r(!arrived_.empty() && !stall_r_());
        if (s_.awvalid.data == nullptr) return;
        s_.awready.set(writes_ < most && held_write_.empty() && !stall_aw_());
        s_.wready.set(written_.size() < WRITE_BEATS && !stall_w_());
        if (drive_b_ || !s_.bvalid.high()) drive_b(!answers_.empty() && !stall_b_());
    }

private:
    static constexpr size_t WRITE_BEATS = 1024;  // a burst of 256 must fit
    static constexpr uint8_t OKAY = 0, SLVERR = 2, DECERR = 3, INCR = 1;

    struct Beat {
        uint8_t data[BEAT_BYTES];
        uint64_t strobe;
        uint8_t id, response;
        bool last;
        bool ends;  // its burst; as `last`, if the answer is right
    };
    struct Burst {
        uint64_t address;
        uint32_t beats;
        uint8_t id;
        bool legal;
    };
    struct Answer {
        uint8_t id, response;
    };

    static uint8_t response(const Request& request) { return request.data ? OKAY : SLVERR; }

    static uint8_t code(Wrong wrong) { return wrong == Wrong::DECERR ? DECERR : SLVERR; }

    // A beat is answered wrongly, if it is its turn and it can be.
    void spoil(const Request& request, Beat& beat) {
        if (beats_before_ != 0) {
            --beats_before_;
            return;
        }
        switch (wrong_beat_) {
            case Wrong::EARLY_LAST:
                if (beat.last) return;
                beat.last = beat.ends = true;
                cut_ = request.beats - 1;
                break;
            case Wrong::NO_LAST:
                if (!beat.last) return;
                beat.last = false;
                break;
            default:
                beat.response = code(wrong_beat_);
        }
        wrong_beat_ = Wrong::NOTHING;
    }

    // The response to a write.
    uint8_t written(const Request& request) {
        if (wrong_response_ == Wrong::NOTHING) return response(request);
        if (responses_before_ != 0) {
            --responses_before_;
            return response(request);
        }
        const uint8_t wrong = code(wrong_response_);
        wrong_response_ = Wrong::NOTHING;
        return wrong;
    }

    void violation(uint64_t cycle, const char* what, uint64_t address, uint64_t beats) {
        log_.violated = true;
        log_.add(cycle, "%s: %s (address %#llx, %llu beats)", s_.name, what,
                 static_cast<unsigned long long>(address),
                 static_cast<unsigned long long>(beats));
    }

    bool legal(uint64_t cycle, uint64_t address, uint32_t beats, const Signal& size,
               const Signal& burst) {
        const char* fault = nullptr;
        if (size.data != nullptr && (uint64_t{1} << size.get()) != s_.bytes)
            fault = "a burst of beats that are not as wide as the port";
        else if (burst.data != nullptr && burst.get() != INCR)
            fault = "a burst that is not INCR";
        else if (address % s_.bytes != 0)
            fault = "a burst that begins within a beat";
        else if (address / PAGE != (address + beats * s_.bytes - 1) / PAGE)
            fault = "a burst over a 4 KiB border";
        if (fault != nullptr) violation(cycle, fault, address, beats);
        return fault == nullptr;
    }

    // Give a burst to its channel, or keep it until those to another channel are answered.
    void request(uint64_t cycle, const Burst& burst, bool write) {
        Ring<Burst>& held = write ? held_write_ : held_read_;
        if (!held.empty() || !send(cycle, burst, write, begun(write) - 1)) held.push() = burst;
    }

    void release(uint64_t cycle) {
        for (const bool write : {false, true}) {
            Ring<Burst>& held = write ? held_write_ : held_read_;
            while (!held.empty() && send(cycle, held.front(), write, begun(write) - held.size()))
                held.pop();
        }
    }

    // Bursts whose address, and of writes the data, have come, and that are not answered.
    uint64_t begun(bool write) const { return write ? writes_ - opened_.size() : reads_; }

    struct Found {
        size_t place;   // of the channel
        uint8_t* data;  // null: in no memory
    };

    // Memory of a burst, and the channel that has it; without one, the channel that was tried first.
    Found find(const Burst& burst, size_t first = 0) const {
        for (size_t n = 0; n < channels_.size(); ++n) {
            const size_t place = (first + n) % channels_.size();
            Store& store = channels_[place].channel->store;
            uint8_t* data = store.find(burst.address, burst.beats * s_.bytes, BEAT_BYTES - 1);
            if (data != nullptr) return {place, data};
        }
        return {first, nullptr};
    }

    // Whether the burst went to its channel, while `others` are under way.
    bool send(uint64_t cycle, const Burst& burst, bool write, uint64_t others) {
        size_t& last = write ? write_to_ : read_from_;
        const auto [place, data] = burst.legal ? find(burst, last) : Found{last, nullptr};
        if (place != last && others != 0) return false;
        last = place;
        if (data == nullptr && burst.legal)
            log_.add(cycle, "%s: SLVERR, no memory at address %#llx, %u beats to %s", s_.name,
                     static_cast<unsigned long long>(burst.address), burst.beats,
                     write ? "write" : "read");
        Channel& channel = *channels_[place].channel;
        channel.note(cycle, burst.address, burst.beats * s_.bytes, write);
        Request& request = channel.push(cycle);
        request.client = this;
        request.data = data;
        request.cost = channels_[place].cost;
        request.beats = burst.beats;
        request.beat_bytes = static_cast<uint32_t>(s_.bytes);
        request.id = burst.id;
        request.write = write;
        return true;
    }

    void accept_read(uint64_t cycle) {
        Burst burst{s_.araddr.get(), static_cast<uint32_t>(s_.arlen.get()) + 1,
                    static_cast<uint8_t>(s_.arid.get()), true};
        burst.legal = legal(cycle, burst.address, burst.beats, s_.arsize, s_.arburst);
        const uint8_t* data = burst.legal ? find(burst).data : nullptr;
        if (data != nullptr && unanswered_.has(data, burst.beats * s_.bytes))
            violation(cycle, "a read of what is being written", burst.address, burst.beats);
        ++counters.read_bursts;
        ++reads_;
        owed_ += burst.beats;
        request(cycle, burst, false);
    }

    void accept_write(uint64_t cycle) {
        Burst& burst = opened_.push();
        burst = {s_.awaddr.get(), static_cast<uint32_t>(s_.awlen.get()) + 1,
                 static_cast<uint8_t>(s_.awid.get()), true};
        burst.legal = legal(cycle, burst.address, burst.beats, s_.awsize, s_.awburst);
        const uint8_t* data = burst.legal ? find(burst).data : nullptr;
        unanswered_.add(this, data, data == nullptr ? 0 : burst.beats * s_.bytes);
        ++counters.write_bursts;
        ++writes_;
    }

    void accept_data() {
        Beat& beat = written_.push();
        std::memcpy(beat.data, s_.wdata.data, s_.bytes);
        beat.strobe = s_.wstrb.data != nullptr ? s_.wstrb.get() : ~uint64_t{0};
        beat.last = s_.wlast.high();
        ++uncollected_;
        counters.bytes_written += s_.bytes;
    }

    // Beats join their burst; a whole one goes to the channel.
    void collect(uint64_t cycle) {
        while (uncollected_ != 0 && !opened_.empty()) {
            const Burst burst = opened_.front();
            const bool last = written_.at(written_.size() - uncollected_--).last;
            const bool due = ++collected_ == burst.beats;
            if (last != due)
                violation(cycle, last ? "WLAST before the last beat" : "no WLAST at the last beat",
                          burst.address, burst.beats);
            if (!due) continue;
            opened_.pop();
            request(cycle, burst, true);
            collected_ = 0;
        }
    }

    void write(uint8_t* to, const Beat& beat) const {
        const uint64_t all = s_.bytes == 64 ? ~uint64_t{0} : (uint64_t{1} << s_.bytes) - 1;
        if ((beat.strobe & all) == all) {
            std::memcpy(to, beat.data, s_.bytes);
            return;
        }
        for (size_t n = 0; n < s_.bytes; ++n)
            if (beat.strobe >> n & 1) to[n] = beat.data[n];
    }

    void drive_r(bool valid) {
        drive_r_ = false;
        s_.rvalid.set(valid);
        if (!valid) return;
        const Beat& beat = arrived_.front();
        std::memcpy(s_.rdata.data, beat.data, s_.bytes);
        s_.rid.set(beat.id), s_.rresp.set(beat.response), s_.rlast.set(beat.last);
    }

    void drive_b(bool valid) {
        drive_b_ = false;
        s_.bvalid.set(valid);
        if (!valid) return;
        s_.bid.set(answers_.front().id), s_.bresp.set(answers_.front().response);
    }

    const PortSignals s_;
    Log& log_;
    Unanswered& unanswered_;  // of all ports
    struct Attached {
        Channel* channel;
        int64_t cost;  // of a beat, in its credit
    };

    std::vector<Attached> channels_;
    size_t read_from_ = 0, write_to_ = 0;  // channels of the last bursts
    Ring<Burst> held_read_, held_write_;   // to another channel than those before them
    Stall stall_ar_, stall_r_, stall_aw_, stall_w_, stall_b_;
    Ring<Beat> arrived_;    // read from memory, not yet taken
    Ring<Burst> opened_;    // write addresses whose data are not complete
    Ring<Beat> written_;    // beats to write, not yet in memory
    Ring<Answer> answers_;  // of writes
    uint64_t owed_ = 0;     // beats asked for and not yet taken
    uint64_t reads_ = 0, writes_ = 0;             // bursts outstanding
    uint64_t uncollected_ = 0, collected_ = 0;    // beats of no burst yet; of the opened one
    uint64_t beats_before_ = 0, responses_before_ = 0, cut_ = 0;  // cut_: beats that will not come
    Wrong wrong_beat_ = Wrong::NOTHING, wrong_response_ = Wrong::NOTHING;
    bool drive_r_ = false, drive_b_ = false;      // a transfer freed R, B
};

}  // namespace lightmamba
