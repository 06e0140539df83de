// A Verilated machine with its memory, behind a C interface that Python loads with ctypes.
//
// Each cycle: outputs settle, transfers are noted, the clock rises, the inputs of the next cycle
// are driven. `design.hpp` is written by build.py: it names the signals of this top level.

#include <memory>

#include "design.hpp"
#include "port.hpp"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace lightmamba {

// Records of one probe, and the cycle of each (its low 32 bits).
struct Probe {
    ProbeSignals signals;
    std::vector<uint8_t> records;
    std::vector<uint32_t> cycles;

    bool sample(uint64_t cycle) {
        if (!signals.valid.high()) return false;
        records.insert(records.end(), signals.value.data, signals.value.data + signals.bytes);
        cycles.push_back(static_cast<uint32_t>(cycle));
        return true;
    }
};

// The host: an AXI4-Lite master whose channels go each at its own time.
class Host {
public:
    HostSignals s;
    Stall stall;
    bool busy = false;
    uint32_t data = 0;
    uint8_t response = 0;

    void begin_write(uint64_t address, uint32_t value) {
        s.awaddr.set(address), s.wdata.set(value), s.wstrb.set(0xf);
        write_address_ = write_data_ = busy = true;
    }

    void begin_read(uint64_t address) {
        s.araddr.set(address);
        read_address_ = busy = true;
    }

    void reset() {
        write_address_ = write_data_ = read_address_ = busy = false;
        for (const Signal& signal : {s.awvalid, s.wvalid, s.bready, s.arvalid, s.rready})
            signal.set(0);
    }

    bool sample() {
        const bool aw = take(s.awvalid, s.awready, write_address_);
        const bool w = take(s.wvalid, s.wready, write_data_);
        const bool ar = take(s.arvalid, s.arready, read_address_);
        const bool b = s.bvalid.high() && s.bready.high();
        const bool r = s.rvalid.high() && s.rready.high();
        if (b) response = static_cast<uint8_t>(s.bresp.get());
        if (r) response = static_cast<uint8_t>(s.rresp.get()), data = s.rdata.get();
        if (b || r) busy = false;
        return aw || w || ar || b || r;
    }

    void drive() {
        offer(s.awvalid, write_address_), offer(s.wvalid, write_data_);
        offer(s.arvalid, read_address_);
        s.bready.set(busy && !stall()), s.rready.set(busy && !stall());
    }

private:
    bool write_address_ = false, write_data_ = false, read_address_ = false;  // still to send

    static bool take(const Signal& valid, const Signal& ready, bool& pending) {
        if (!valid.high() || !ready.high()) return false;
        pending = false;
        return true;
    }

    void offer(const Signal& valid, bool pending) {
        if (!pending)
            valid.set(0);
        else if (!valid.high())
            valid.set(!stall());  // once offered it stays
    }
};

enum Status { INTERRUPT = 0, CYCLES = 1, STUCK = 2, VIOLATED = 3, FINISHED = 4 };

class Machine {
public:
    VerilatedContext context;
    Vtop top{&context, "top"};
    Clock clock;
    Host host;
    Log log;
    Unanswered unanswered;
    std::vector<std::unique_ptr<Channel>> channels;
    std::vector<std::unique_ptr<Port>> ports;
    std::vector<Probe> probes;
    bool probing = true;
    uint64_t cycle = 0;
    std::string error;  // of the last call that failed

    Machine() {
        std::vector<PortSignals> port_signals;
        std::vector<ProbeSignals> probe_signals;
        connect(top, clock, host.s, port_signals, probe_signals);
        for (const PortSignals& signals : port_signals)
            ports.push_back(std::make_unique<Port>(signals, log, unanswered));
        for (const ProbeSignals& signals : probe_signals) probes.push_back({signals, {}, {}});
    }

    ~Machine() {
        top.final();
        trace(nullptr);
    }

    void reset(uint64_t cycles) {
        for (auto& channel : channels) channel->reset();
        for (auto& port : ports) port->reset();
        unanswered.clear();
        host.reset();
        clock.reset(true);
        for (uint64_t n = 0; n < cycles; ++n) tick();
        clock.reset(false);
        for (uint64_t n = 0; n < SETTLE; ++n) tick();
        moved_ = cycle;
    }

    Status run(uint64_t most, uint64_t watchdog) {
        for (uint64_t n = 0; n < most; ++n) {
            step();
            if (clock.interrupt.high()) return INTERRUPT;
            if (log.violated) return VIOLATED;
            if (watchdog != 0 && cycle - moved_ > watchdog) return STUCK;
        }
        return context.gotFinish() ? FINISHED : CYCLES;
    }

    // Step until the host's transaction is over.
    bool transact() {
        for (uint64_t n = 0; n < HOST_CYCLES && host.busy; ++n) step();
        const bool over = !host.busy;
        host.reset();
        if (!over) error = "no answer on the host port in " + std::to_string(HOST_CYCLES);
        if (over && host.response != 0) error = "the host port answered with an error";
        return over && host.response == 0;
    }

    bool trace(const char* path) {
#if VM_TRACE_FST
        if (trace_) trace_->close();
        trace_.reset();
        if (path == nullptr) return true;
        trace_ = std::make_unique<VerilatedFstC>();
        if (!traced_) context.traceEverOn(true);
        traced_ = true;
        top.trace(trace_.get(), 99);
        trace_->open(path);
        return trace_->isOpen();
#else
        return path == nullptr;
#endif
    }

private:
    static constexpr uint64_t HOST_CYCLES = 100000;
    static constexpr uint64_t SETTLE = 8;  // cycles for which a reset may lag behind its input

    void step() {
        for (auto& channel : channels) channel->step(cycle);
        for (auto& port : ports) port->drive();
        host.drive();
        top.eval();
        bool moved = host.sample();
        for (auto& port : ports) moved |= port->sample(cycle);
        if (probing)
            for (Probe& probe : probes) moved |= probe.sample(cycle);
        if (moved) moved_ = cycle;
        edge();
    }

    void tick() {
        top.eval();
        edge();
    }

    // Rising edge, after the inputs have settled with the clock low.
    void edge() {
        dump(0);
        clock.clk.set(1);
        top.eval();
        dump(1);
        clock.clk.set(0);
        ++cycle;
    }

    void dump(uint64_t half) {
#if VM_TRACE_FST
        if (trace_) trace_->dump(2 * cycle + half);
#else
        (void)half;
#endif
    }

    uint64_t moved_ = 0;  // last cycle with a transfer or a record
#if VM_TRACE_FST
    std::unique_ptr<VerilatedFstC> trace_;
    bool traced_ = false;
#endif
};

}  // namespace lightmamba

using lightmamba::Channel;
using lightmamba::Machine;

static bool found(Machine* m, uint64_t channel, uint64_t address, uint64_t bytes, uint8_t** data) {
    *data = m->channels[channel]->store.find(address, bytes);
    if (*data == nullptr) m->error = "no region has all of these bytes";
    return *data != nullptr;
}

// Functions that can fail return 0 on success and leave a sentence for lm_error.

EXPORT Machine* lm_create() { return new Machine; }
EXPORT void lm_destroy(Machine* m) { delete m; }
EXPORT const char* lm_error(Machine* m) { return m->error.c_str(); }
EXPORT const char* lm_messages(Machine* m) { return m->log.text(); }
EXPORT void lm_forget_messages(Machine* m) { m->log.clear(); }

EXPORT void lm_channel(Machine* m, const lightmamba::ChannelConfig* config) {
    m->channels.push_back(std::make_unique<Channel>(*config));
}

EXPORT void lm_attach(Machine* m, uint64_t port, uint64_t channel) {
    m->ports[port]->attach(*m->channels[channel], port);
}

EXPORT int lm_map(Machine* m, uint64_t channel, uint64_t address, uint64_t bytes,
                  const char* path, int shared) {
    m->error = m->channels[channel]->store.map(address, bytes, path, shared != 0);
    return m->error.empty() ? 0 : 1;
}

EXPORT void lm_unmap_all(Machine* m, uint64_t channel) { m->channels[channel]->store.clear(); }

EXPORT int lm_memory_read(Machine* m, uint64_t channel, uint64_t address, uint8_t* to,
                          uint64_t bytes) {
    uint8_t* data;
    if (!found(m, channel, address, bytes, &data)) return 1;
    std::memcpy(to, data, bytes);
    return 0;
}

EXPORT int lm_memory_write(Machine* m, uint64_t channel, uint64_t address, const uint8_t* from,
                           uint64_t bytes) {
    uint8_t* data;
    if (!found(m, channel, address, bytes, &data)) return 1;
    std::memcpy(data, from, bytes);
    return 0;
}

EXPORT int lm_memory_trace(Machine* m, uint64_t channel, const char* path) {
    return m->channels[channel]->trace(path) ? 0 : 1;
}

EXPORT void lm_reset(Machine* m, uint64_t cycles) { m->reset(cycles); }
EXPORT uint64_t lm_cycle(Machine* m) { return m->cycle; }

EXPORT int lm_run(Machine* m, uint64_t most, uint64_t watchdog) { return m->run(most, watchdog); }

EXPORT int lm_host_write(Machine* m, uint64_t address, uint32_t value) {
    m->host.begin_write(address, value);
    return m->transact() ? 0 : 1;
}

EXPORT int lm_host_read(Machine* m, uint64_t address, uint32_t* value) {
    m->host.begin_read(address);
    const bool over = m->transact();
    *value = m->host.data;
    return over ? 0 : 1;
}

EXPORT void lm_host_stall(Machine* m, double probability, uint64_t seed) {
    m->host.stall.set(probability, seed, 1 << 20);
}

EXPORT void lm_plant(Machine* m, uint64_t port, int wrong, int write, uint64_t after) {
    m->ports[port]->plant(static_cast<lightmamba::Wrong>(wrong), write != 0, after);
}

EXPORT void lm_counters(Machine* m, uint64_t port, lightmamba::PortCounters* to) {
    *to = m->ports[port]->counters;
}

EXPORT void lm_probing(Machine* m, int on) { m->probing = on != 0; }
EXPORT uint64_t lm_probe_count(Machine* m, uint64_t probe) {
    return m->probes[probe].cycles.size();
}

// Copy the records of a probe out and forget them.
EXPORT void lm_probe_take(Machine* m, uint64_t probe, uint8_t* records, uint32_t* cycles) {
    lightmamba::Probe& p = m->probes[probe];
    std::copy(p.records.begin(), p.records.end(), records);
    std::copy(p.cycles.begin(), p.cycles.end(), cycles);
    p.records.clear(), p.cycles.clear();
}

EXPORT int lm_trace(Machine* m, const char* path) { return m->trace(path) ? 0 : 1; }
