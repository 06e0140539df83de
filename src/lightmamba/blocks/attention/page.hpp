// A page of keys and values of one head, as the dot products of native/dot.hpp take them.
#pragma once
#include "../../native/dot.hpp"
#include "../../native/scratch.hpp"

namespace lightmamba {
namespace {

constexpr int64_t PAGE = 32;  // positions that are weighed against one maximum: a step of `dot`

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

// Four neighboring channels of a position share a word: 16 channels of 4 positions to four vectors of
// words, `apart` bytes from each other.
INLINE void put_words(const uint8_t* const from[4], uint8_t* to, int64_t apart) {
    const u32x4 a = load<u32x4>(from[0]), b = load<u32x4>(from[1]), c = load<u32x4>(from[2]), d = load<u32x4>(from[3]);
    const u32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const u32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    constexpr uint32_t SIGNS = 0x80808080;
    store(to, __builtin_shufflevector(ab, cd, 0, 1, 4, 5) ^ SIGNS);
    store(to + apart, __builtin_shufflevector(ab, cd, 2, 3, 6, 7) ^ SIGNS);
    store(to + 2 * apart, __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5) ^ SIGNS);
    store(to + 3 * apart, __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7) ^ SIGNS);
}

// Four positions of a channel share a word: 16 channels of 4 positions to 64 bytes.
INLINE void put_channels(const uint8_t* const from[4], uint8_t* to) {
    u8x16 v[4];
    for (int i = 0; i < 4; ++i) v[i] = load<u8x16>(from[i]) ^ uint8_t(128);
    for (int half = 0; half < 2; ++half) {
        const auto mix = [&](u8x16 a, u8x16 b) {
            return half ? (u16x8)__builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
                        : (u16x8)__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        };
        const u16x8 ab = mix(v[0], v[1]), cd = mix(v[2], v[3]);
        store(to + 32 * half, __builtin_shufflevector(ab, cd, 0, 8, 1, 9, 2, 10, 3, 11));
        store(to + 32 * half + 16, __builtin_shufflevector(ab, cd, 4, 12, 5, 13, 6, 14, 7, 15));
    }
}

// Keys and values of one head of a page, without sign. Blocks of channels are padded with zeros: to whole
// steps of 32 for the keys, to whole tiles of 16 for the values.
struct PagePanel {
    int64_t blocks, block, steps, tiles;  // steps and tiles: of a block
    uint8_t* key;                         // (blocks, steps, 2, 512 bytes): two tiles of 16 positions
    uint8_t* value;                       // (blocks, tiles, 512 bytes)
    int64_t *key_exp, *value_exp;         // (blocks, PAGE); those of values above the lowest one of their block
    int64_t* value_low;                   // (blocks)
    uint8_t* padded;                      // (4, step): blocks that are filled up
    int64_t bytes;

    PagePanel(int64_t blocks, int64_t block, void* space)
        : blocks(blocks), block(block), steps(whole(block, STEP) / STEP), tiles(whole(block, ROWS) / ROWS) {
        Scratch scratch{space};
        key = scratch.take<uint8_t>(blocks * steps * 2 * STEP_BYTES8);
        value = scratch.take<uint8_t>(blocks * tiles * STEP_BYTES8);
        key_exp = scratch.take<int64_t>(blocks * PAGE);
        value_exp = scratch.take<int64_t>(blocks * PAGE);
        value_low = scratch.take<int64_t>(blocks);
        padded = scratch.take<uint8_t>(4 * steps * STEP);
        bytes = scratch.bytes;
    }

    // Take `count` positions, each `apart` blocks from the one before; of later ones the values mean nothing.
    void fill(const int8_t* k, const int8_t* k_exp, const int8_t* v, const int8_t* v_exp, int64_t apart, int64_t count) {
        for (int64_t b = 0; b < blocks; ++b) {
            int64_t low = v_exp[b];
            for (int64_t i = 1; i < count; ++i) low = v_exp[i * apart + b] < low ? v_exp[i * apart + b] : low;
            for (int64_t i = 0; i < PAGE; ++i) {
                key_exp[b * PAGE + i] = i < count ? k_exp[i * apart + b] : 0;
                value_exp[b * PAGE + i] = i < count ? v_exp[i * apart + b] - low : 0;
            }
            value_low[b] = low;
        }
        for (int64_t i = 0; i < count; i += 4) {
            for (int64_t b = 0; b < blocks; ++b) {
                const uint8_t* from[4];
                four(k, i, b, apart, from);
                for (int64_t c = 0; c < steps * STEP; c += ROWS) {
                    const uint8_t* const at[4] = {from[0] + c, from[1] + c, from[2] + c, from[3] + c};
                    uint8_t* tile = key + ((b * steps + c / STEP) * 2 + i / ROWS) * STEP_BYTES8;
                    put_words(at, tile + c % STEP * ROWS + i % ROWS * 4, 64);
                }
                four(v, i, b, apart, from);
                for (int64_t c = 0; c < tiles * ROWS; c += ROWS) {
                    const uint8_t* const at[4] = {from[0] + c, from[1] + c, from[2] + c, from[3] + c};
                    put_channels(at, value + (b * tiles + c / ROWS) * STEP_BYTES8 + i * ROWS);
                }
            }
        }
    }

  private:
    // A block of four positions from `i` on.
    void four(const int8_t* all, int64_t i, int64_t b, int64_t apart, const uint8_t* from[4]) {
        for (int n = 0; n < 4; ++n) {
            from[n] = (const uint8_t*)all + ((i + n) * apart + b) * block;
            if (block % STEP == 0) continue;
            uint8_t* to = padded + n * steps * STEP;
            std::memset(to, 0, steps * STEP);
            std::memcpy(to, from[n], block);
            from[n] = to;
        }
    }
};

}  // namespace
}  // namespace lightmamba
