// Arrays in the scratch memory of a thread.
#pragma once
#include <cstdint>

namespace lightmamba {
namespace {

// The least multiple of `of` that is not below n.
inline int64_t whole(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

// Arrays one after the other, each aligned to 64 bytes as the first one is. At a null address it only counts.
struct Scratch {
    void* space;
    int64_t bytes = 0;  // of all so far

    template <class T>
    T* take(int64_t count) {
        char* at = (char*)space + bytes;
        bytes += whole(count * int64_t(sizeof(T)), 64);
        return (T*)at;
    }
};

}  // namespace
}  // namespace lightmamba
