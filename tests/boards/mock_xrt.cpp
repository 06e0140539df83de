// XRT's classes, as far as xrt.cpp uses them, in front of functions that a test gives: a card
// whose accelerator and memory are simulated. Compiled against XRT's real headers.

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <experimental/xrt_ip.h>
#include <experimental/xrt_xclbin.h>

namespace {

uint32_t (*read_register)(uint32_t);
void (*write_register)(uint32_t, uint32_t);
uint64_t (*allocate)(const char*, uint64_t);  // address on the bank
void (*put)(const char*, uint64_t, const uint8_t*, uint64_t);
void (*get)(const char*, uint64_t, uint8_t*, uint64_t);
const std::vector<std::string> TAGS = {"HBM[0]", "HBM[1]", "DDR[0]", "DDR[1]", "HOST[0]"};

}  // namespace

extern "C" void mock_connect(uint32_t (*rd)(uint32_t), void (*wr)(uint32_t, uint32_t),
                             uint64_t (*al)(const char*, uint64_t),
                             void (*pt)(const char*, uint64_t, const uint8_t*, uint64_t),
                             void (*gt)(const char*, uint64_t, uint8_t*, uint64_t)) {
    read_register = rd, write_register = wr, allocate = al, put = pt, get = gt;
}

namespace xrt_core {

class device {};

}  // namespace xrt_core

namespace xrt {

class ip_impl {};
class xclbin_impl {};

class xclbin::mem_impl {
public:
    size_t index;
};

class bo_impl {
public:
    std::string tag;
    uint64_t address;
    std::vector<uint8_t> host;  // of the host's side, until it is synchronized
};

device::device(unsigned int card) : handle(std::make_shared<xrt_core::device>()) {
    if (card != 0) throw std::runtime_error("No such device '" + std::to_string(card) + "'");
}
uuid device::load_xclbin(const xclbin&) { return {}; }
device::operator xclDeviceHandle() const { return handle.get(); }

xclbin::xclbin(const std::string&) : detail::pimpl<xclbin_impl>(std::make_shared<xclbin_impl>()) {}
std::vector<xclbin::mem> xclbin::get_mems() const {
    std::vector<mem> found;
    for (size_t n = 0; n < TAGS.size(); ++n)
        found.emplace_back(std::make_shared<mem_impl>(mem_impl{n}));
    return found;
}
std::string xclbin::mem::get_tag() const { return TAGS.at(handle->index); }
int32_t xclbin::mem::get_index() const { return static_cast<int32_t>(handle->index); }

ip::ip(const device&, const uuid&, const std::string& name)
    : detail::pimpl<ip_impl>(std::make_shared<ip_impl>()) {
    if (name != "lightmamba") throw std::runtime_error("no such ip " + name);
}
uint32_t ip::read_register(uint32_t offset) const { return ::read_register(offset); }
void ip::write_register(uint32_t offset, uint32_t value) { ::write_register(offset, value); }

bo::bo(xclDeviceHandle, size_t bytes, bo::flags, memory_group bank)
    : handle(std::make_shared<bo_impl>()) {
    const std::string tag = TAGS.at(bank);
    handle->tag = tag;
    handle->address = allocate(tag.c_str(), bytes);
    handle->host.resize(bytes);
}
uint64_t bo::address() const { return handle->address; }
void bo::write(const void* from, size_t bytes, size_t at) {
    std::memcpy(handle->host.data() + at, from, bytes);
}
void bo::read(void* to, size_t bytes, size_t at) {
    std::memcpy(to, handle->host.data() + at, bytes);
}
void bo::sync(xclBOSyncDirection way, size_t bytes, size_t at) {
    uint8_t* data = handle->host.data() + at;
    if (way == XCL_BO_SYNC_BO_TO_DEVICE) {
        put(handle->tag.c_str(), handle->address + at, data, bytes);
    } else {
        get(handle->tag.c_str(), handle->address + at, data, bytes);
    }
}

}  // namespace xrt
