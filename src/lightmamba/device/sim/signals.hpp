// Signals of the top level, as pointers into the Verilated model.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lightmamba {

// A signal of the Verilated top level; absent ones read as zero and take what is written.
struct Signal {
    uint8_t* data = nullptr;
    size_t bytes = 0;

    bool high() const { return data != nullptr && *data != 0; }

    uint64_t get() const {
        uint64_t value = 0;
        if (data != nullptr) std::memcpy(&value, data, std::min<size_t>(bytes, 8));
        return value;
    }

    void set(uint64_t value) const {
        if (data != nullptr) std::memcpy(data, &value, std::min<size_t>(bytes, 8));
    }
};

template <class T>
Signal signal(T& of) {
    return {reinterpret_cast<uint8_t*>(&of), sizeof of};
}

struct PortSignals {
    const char* name = "";
    size_t bytes = 0;  // of a beat
    Signal araddr, arlen, arsize, arburst, arid, arvalid, arready;
    Signal rdata, rresp, rlast, rid, rvalid, rready;
    Signal awaddr, awlen, awsize, awburst, awid, awvalid, awready;
    Signal wdata, wstrb, wlast, wvalid, wready;
    Signal bresp, bid, bvalid, bready;
};

struct Clock {
    Signal clk, rst, interrupt;
    bool reset_low = false;  // whether 0 resets

    void reset(bool on) const { rst.set(on != reset_low); }
};

struct HostSignals {  // AXI4-Lite
    Signal awaddr, awvalid, awready, wdata, wstrb, wvalid, wready, bresp, bvalid, bready;
    Signal araddr, arvalid, arready, rdata, rresp, rvalid, rready;
};

struct ProbeSignals {
    size_t bytes = 0;  // of a record
    Signal valid, value;
};

}  // namespace lightmamba
