// Calls of a library as they were recorded (recording.py), in memory of exactly the recorded sizes:
// replay LIBRARY RECORDING. It ends with 0 if every result and all memory are as recorded.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

enum Given : int64_t { NUMBER, MEMORY, REAL, HANDLE };
enum Result : int64_t { LEFT, EQUAL, OPENED };

constexpr int MOST = 12;  // arguments
// All that is called has whole numbers and pointers, and one floating-point number at most, in any place.
using Function = int64_t (*)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                             int64_t, int64_t, double);

struct Reader {
    std::vector<char> bytes;
    size_t at = 0;

    int64_t number() {
        int64_t value;
        std::memcpy(&value, take(8), 8);
        return value;
    }
    const char* take(size_t count) {
        if (count > bytes.size() - at) std::fprintf(stderr, "the recording ends early\n"), std::exit(2);
        at += count;
        return bytes.data() + at - count;
    }
};

struct Block {
    int64_t size;
    char* data;
    std::vector<std::pair<int64_t, int64_t>> pointers;  // where, and to which block
    const char *before, *after;
};

Block block(Reader& in) {
    Block made{};
    const int64_t align = in.number();
    made.size = in.number();
    const int64_t pointers = in.number();
    for (int64_t n = 0; n < pointers; ++n) {
        const int64_t at = in.number();
        made.pointers.emplace_back(at, in.number());
    }
    made.before = in.take(made.size);
    made.after = in.take(made.size);
    void* data = nullptr;
    if (posix_memalign(&data, align, made.size)) std::exit(2);
    made.data = static_cast<char*>(data);
    std::memcpy(made.data, made.before, made.size);
    return made;
}

}  // namespace

int main(int, char** argv) {
    void* library = dlopen(argv[1], RTLD_NOW);
    if (library == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 2;
    std::ifstream file(argv[2], std::ios::binary);
    Reader in{{std::istreambuf_iterator<char>(file), {}}};
    int64_t handle = 0;
    const int64_t calls = in.number();
    for (int64_t call = 0; call < calls; ++call) {
        const int64_t length = in.number();
        const std::string name(in.take(length), length);
        const int64_t count = in.number();
        int64_t kind[MOST] = {}, value[MOST] = {}, given[MOST] = {};
        for (int64_t n = 0; n < count; ++n) kind[n] = in.number(), value[n] = in.number();
        const int64_t result = in.number(), wanted = in.number(), n_blocks = in.number();
        std::vector<Block> blocks;
        for (int64_t n = 0; n < n_blocks; ++n) blocks.push_back(block(in));
        for (Block& each : blocks) {
            for (auto [at, target] : each.pointers) std::memcpy(each.data + at, &blocks[target].data, 8);
        }
        double real = 0;
        int64_t places = 0;
        for (int64_t n = 0; n < count; ++n) {
            if (kind[n] == REAL) {
                std::memcpy(&real, &value[n], 8);
            } else {
                given[places++] = kind[n] == HANDLE   ? handle
                                  : kind[n] == MEMORY ? reinterpret_cast<int64_t>(blocks[value[n]].data)
                                                      : value[n];
            }
        }
        const auto function = reinterpret_cast<Function>(dlsym(library, name.c_str()));
        if (function == nullptr) return std::fprintf(stderr, "no %s\n", name.c_str()), 2;
        const int64_t* g = given;
        const int64_t found =
            function(g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], real);
        if (result == OPENED) handle = found;
        if (result == EQUAL && uint32_t(found) != uint32_t(wanted)) {
            return std::fprintf(stderr, "call %ld, %s: result %ld, not %ld\n", long(call), name.c_str(),
                                long(uint32_t(found)), long(wanted)), 1;
        }
        for (size_t n = 0; n < blocks.size(); ++n) {
            Block& each = blocks[n];
            for (auto [at, target] : each.pointers) std::memcpy(each.data + at, each.after + at, 8);
            if (std::memcmp(each.data, each.after, each.size) != 0) {
                return std::fprintf(stderr, "call %ld, %s: other bytes in block %zu\n", long(call), name.c_str(), n), 1;
            }
            std::free(each.data);
        }
    }
    std::printf("%ld calls\n", long(calls));
    return 0;
}
