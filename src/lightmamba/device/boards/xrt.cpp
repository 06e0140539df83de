// What Python needs of XRT: one accelerator that is a user-managed kernel, and memory on its banks.
//
// XRT's own Python binding has no registers, so this is a small C interface around xrt::ip and
// xrt::bo. Functions that can fail return 0 on success and leave a sentence for lmx_error. The
// package's Makefile builds it: g++ -std=c++17 -shared -fPIC xrt.cpp -o liblightmamba_xrt.so
// -lxrt_coreutil -luuid.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <experimental/xrt_ip.h>
#include <experimental/xrt_xclbin.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Accelerator {
    xrt::device device;
    xrt::xclbin xclbin;
    xrt::ip ip;
    std::vector<xrt::bo> buffers;
};

std::string error;

template <class Action>
int attempt(Action action) {
    try {
        action();
        return 0;
    } catch (const std::exception& found) {
        error = found.what();
    } catch (...) {
        error = "XRT failed without a reason";
    }
    return 1;
}

}  // namespace

EXPORT const char* lmx_error() { return error.c_str(); }

EXPORT int lmx_open(unsigned card, const char* xclbin, const char* kernel, Accelerator** out) {
    return attempt([&] {
        auto made = std::make_unique<Accelerator>();
        made->device = xrt::device(card);
        made->xclbin = xrt::xclbin(std::string(xclbin));
        const auto uuid = made->device.load_xclbin(made->xclbin);
        made->ip = xrt::ip(made->device, uuid, kernel);
        *out = made.release();
    });
}

EXPORT void lmx_close(Accelerator* a) { delete a; }

EXPORT int lmx_read(Accelerator* a, uint32_t offset, uint32_t* value) {
    return attempt([&] { *value = a->ip.read_register(offset); });
}

EXPORT int lmx_write(Accelerator* a, uint32_t offset, uint32_t value) {
    return attempt([&] { a->ip.write_register(offset, value); });
}

// Free all buffers.
EXPORT void lmx_free(Accelerator* a) { a->buffers.clear(); }

// Allocate on the bank with this tag, such as HBM[3]; the number and the address of the buffer.
EXPORT int lmx_allocate(Accelerator* a, const char* tag, uint64_t bytes, uint64_t* number,
                        uint64_t* address) {
    return attempt([&] {
        for (const auto& memory : a->xclbin.get_mems()) {
            if (memory.get_tag() != tag) continue;
            const auto bank = static_cast<xrt::memory_group>(memory.get_index());
            a->buffers.emplace_back(a->device, bytes, xrt::bo::flags::normal, bank);
            *number = a->buffers.size() - 1;
            *address = a->buffers.back().address();
            return;
        }
        throw std::runtime_error(std::string("the bitstream has no memory ") + tag);
    });
}

EXPORT int lmx_put(Accelerator* a, uint64_t number, uint64_t at, const void* from, uint64_t bytes) {
    return attempt([&] {
        auto& buffer = a->buffers.at(number);
        buffer.write(from, bytes, at);
        buffer.sync(XCL_BO_SYNC_BO_TO_DEVICE, bytes, at);
    });
}

EXPORT int lmx_get(Accelerator* a, uint64_t number, uint64_t at, void* to, uint64_t bytes) {
    return attempt([&] {
        auto& buffer = a->buffers.at(number);
        buffer.sync(XCL_BO_SYNC_BO_FROM_DEVICE, bytes, at);
        buffer.read(to, bytes, at);
    });
}
