// A query against one page after the other: scores, weights, and sums of weighted values. Source:
// numerics/attention.py.
#pragma once
#include "../../native/pow2.hpp"
#include "../../native/quantize.hpp"
#include "../../native/silu.hpp"
#include "page.hpp"

namespace lightmamba {
namespace {

constexpr int64_t LARGEST_SCORE = 0x7FFFFFFF, NONE = -(int64_t(1) << 40);  // NONE: its weight is 0
constexpr int DIGIT = 7, DIGITS = 10;  // bits of a weight that one dot product takes; of 64 bits

// Weights (24 bits) of 16 positions; the arguments are how far each score lies below the next whole number, in
// units of 2^-16.
INLINE i32x16 weights_of(const Tables& t, i64x8 first, i64x8 second) {
    constexpr int32_t LAST = (32 << 16) - 1, ONE = (1 << 24) - 1;  // 2^-32, which rounds to 0; nearly one
    i32x16 power;
    narrow((int32_t*)&power, clamp(first, all64(0), all64(LAST)));
    narrow((int32_t*)&power + 8, clamp(second, all64(0), all64(LAST)));
    power <<= 8;
    const int bits = t.exp2_bits;  // up to 15, so that a product has 32
    const i32x16 segment = (power & ONE) >> bits, rest = power & ((1 << bits) - 1);
    const i32x16 slope = gather(t.exp2_delta, segment) * rest;
    const i32x16 value = gather(t.exp2_base, segment) + ((slope + (1 << bits >> 1)) >> bits);
    const u32x16 by = (u32x16)(power >> 24), half = ((u32x16{} + 1) << by) >> 1;
    return clamp((i32x16)(((u32x16)value + half) >> by), all(0), all(ONE));
}

// One query on its way through the pages.
struct Query {
    int64_t* total;       // (blocks, tiles, 16), sums of weighted values
    int8_t* q;            // (blocks, steps * 32), filled up with zeros
    int32_t* correction;  // (blocks): for the offset of the keys
    int8_t* q_exp;        // (blocks)
    int64_t weights, largest, lost_score;
    int64_t bytes;

    Query(const PagePanel& p, void* space) : weights(0), largest(0), lost_score(0) {
        Scratch scratch{space};
        total = scratch.take<int64_t>(p.blocks * p.tiles * ROWS);
        q = scratch.take<int8_t>(p.blocks * p.steps * STEP);
        correction = scratch.take<int32_t>(p.blocks);
        q_exp = scratch.take<int8_t>(p.blocks);
        bytes = scratch.bytes;
    }

    void begin(const PagePanel& p, const int16_t* row, int64_t head_dim) {
        std::memset(total, 0, p.blocks * p.tiles * ROWS * 8);
        std::memset(q, 0, p.blocks * p.steps * STEP);
        for (int64_t b = 0; b < p.blocks; ++b) {
            const int64_t left = head_dim - b * p.block, n = left < p.block ? left : p.block;
            int8_t* to = q + b * p.steps * STEP;
            pow2_blocks(row + b * p.block, n, p.block, to, q_exp + b);
            int32_t sum = 0;
            for (int64_t i = 0; i < n; ++i) sum += to[i];
            correction[b] = -128 * sum;
        }
    }

    // Add the first `count` positions of a page; `first`: no page came before it.
    void page(const PagePanel& p, const Tables& t, int64_t score_shift, int64_t count, bool first) {
        i64x8 scores[PAGE / 8];
        lost_score += score(p, score_shift, count, scores);
        i64x8 most = scores[0];
        for (int n = 1; n < PAGE / 8; ++n) most = most > scores[n] ? most : scores[n];
        int64_t top = most[0];
        for (int i = 1; i < 8; ++i) top = top < most[i] ? most[i] : top;
        const int64_t now = !first && (top >> 16) < largest ? largest : top >> 16;
        if (!first && now > largest) {
            const int64_t fall = now - largest < 62 ? now - largest : 62;
            for (int64_t c = 0; c < p.blocks * p.tiles * ROWS; ++c) total[c] = round_shift(total[c], fall);
            weights = round_shift(weights, fall);
        }
        largest = now;
        i32x16 weight[PAGE / ROWS];
        for (int n = 0; n < PAGE / ROWS; ++n) {
            weight[n] = weights_of(t, ((now + 1) << 16) - scores[2 * n], ((now + 1) << 16) - scores[2 * n + 1]);
        }
        weights += sum(lower(weight[0]) + upper(weight[0]) + lower(weight[1]) + upper(weight[1]));
        for (int64_t b = 0; b < p.blocks; ++b) add(p, b, weight);
    }

  private:
    // Scores of all positions of a page, NONE after the first `count`; how many of those saturated.
    int64_t score(const PagePanel& p, int64_t shift, int64_t count, i64x8 scores[PAGE / 8]) const {
        const i64x8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
        i64x8 lost = {};
        for (int64_t tile = 0; tile < PAGE / ROWS; ++tile) {
            i64x8 sums[2] = {};
            for (int64_t b = 0; b < p.blocks && tile * ROWS < count; ++b) {
                i32x16 one = all(correction[b]);
                for (int64_t s = b * p.steps; s < (b + 1) * p.steps; ++s) {
                    Words words[8];
                    unpack8(p.key + (2 * s + tile) * STEP_BYTES8, words);
                    one += dot<8>(words, q + s * STEP);
                }
                const int64_t* exps = p.key_exp + b * PAGE + tile * ROWS;
                sums[0] += lower(one) << (load<i64x8>(exps) + q_exp[b]);
                sums[1] += upper(one) << (load<i64x8>(exps + 8) + q_exp[b]);
            }
            for (int half = 0; half < 2; ++half) {
                const int64_t n = 2 * tile + half;
                const i64x8 wide = round_shift(sums[half], shift), there = lane < count - 8 * n;
                const i64x8 kept = clamp(wide, all64(-LARGEST_SCORE), all64(LARGEST_SCORE));
                lost -= (kept != wide) & there;
                scores[n] = there ? kept : all64(NONE);
            }
        }
        return sum(lost);
    }

    // Add the values of a block of channels. Weights times the scales of values are summed digit by digit.
    void add(const PagePanel& p, int64_t b, const i32x16 weight[PAGE / ROWS]) {
        i64x8 scaled[PAGE / 8], seen = {}, all_scaled = {};
        for (int n = 0; n < PAGE / 8; ++n) {
            const i64x8 part = n % 2 ? upper(weight[n / 2]) : lower(weight[n / 2]);
            scaled[n] = part << load<i64x8>(p.value_exp + b * PAGE + 8 * n);
            seen |= scaled[n];
            all_scaled += scaled[n];
        }
        int64_t bits = 0;
        for (int i = 0; i < 8; ++i) bits |= seen[i];
        const int digits = (bit_length(uint64_t(bits)) + DIGIT - 1) / DIGIT;
        alignas(64) int8_t digit[DIGITS + 1][PAGE];
        for (int n = 0; n < digits + digits % 2; ++n) {
            for (int i = 0; i < PAGE / 8; ++i) narrow(digit[n] + 8 * i, scaled[i] >> (DIGIT * n) & ((1 << DIGIT) - 1));
        }
        const int64_t offset = -128 * sum(all_scaled);
        for (int64_t tile = b * p.tiles; tile < (b + 1) * p.tiles; ++tile) {
            Words words[8];
            unpack8(p.value + tile * STEP_BYTES8, words);
            i64x8 sums[2] = {all64(offset), all64(offset)};
            for (int n = 0; n < digits; n += 2) {  // sums of two digits have 28 bits
                const i32x16 two = dot<8>(words, digit[n]) + (dot<8>(words, digit[n + 1]) << DIGIT);
                sums[0] += lower(two) << (DIGIT * n);
                sums[1] += upper(two) << (DIGIT * n);
            }
            int64_t* to = total + tile * ROWS;
            store(to, load<i64x8>(to) + (sums[0] << p.value_low[b]));
            store(to + 8, load<i64x8>(to + 8) + (sums[1] << p.value_low[b]));
        }
    }
};

}  // namespace
}  // namespace lightmamba
