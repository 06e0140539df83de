// One token's update of 16 rows of a state of 8 bits in blocks of 32, in vectors of 16 bits. Source:
// numerics/ssm_update.py (BlockUpdate).
//
// A lane of 32 bits is a row, and its two numbers are neighbours along d_state: sums with C run
// over a pair, sums and maxima over lanes are not needed.
#pragma once
#include "../../native/pairs.hpp"
#include "scan_rows.hpp"

namespace lightmamba {
namespace {

constexpr int GROUP = 4;  // blocks of a row that go side by side: no operation waits for the one before it
constexpr int UNROLL = PARTS == 1 ? COLUMNS : PARTS == 2 ? 4 : 2;

// What a block of each of 16 rows is multiplied by; see decay_factor and input_factor there.
INLINE i32x16 decay_factors(int32_t decay, i32x16 right, int32_t threshold) {
    const i32x16 moved = shift_out(all(decay), clamp(right, all(0), all(FACTOR_BITS))) + threshold;
    return clamp(moved >> (DECAY_BITS - FACTOR_BITS), all(0), all(LARGEST_FACTOR));
}

INLINE i32x16 input_factors(i32x16 dtx, i32x16 right) {
    const i32x16 by = clamp(right, all(0), all(DECAY_BITS));
    const i32x16 left = clamp(by - right, all(0), all(FACTOR_BITS));
    const i32x16 half = shift_left(all(1), by) >> 1;
    return clamp(shift_right(shift_left(dtx, left) + half, by), all(-LARGEST_FACTOR - 1), all(LARGEST_FACTOR));
}

// The first token of a run reads the state from memory, int8; between tokens it stays in `kept`,
// times 2^7. One token stores it in memory; where others follow, it is kept too.
template <bool FIRST, bool STORE, bool KEEP>
APART void scan_tile(
    const Mamba2& k, const Token& token, int64_t D, int64_t p, int8_t* h, pairs_of* kept,
    uint8_t* h_exp, int32_t* y, int64_t* lost_h, int64_t* lost_y
) {
    const i32x16 x = widen(token.x + p), dtx = x * int32_t(token.dt);
    const i32x16 ramp = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const i32x16 size = bit_length(dtx ^ (dtx >> 31)), some = dtx != 0;
    const int64_t blocks = k.padded_state / BLOCK, x_exp = token.x_exp[p / k.x_block];
    // The dither is in the low byte of each number, where additions of bytes keep it.
    const i32x16 index = (ramp + int32_t(p)) * int32_t(159 * k.padded_state) + int32_t(token.dither);
    const i32x16 first = (index & 255) | ((index + 159) & 255) << 16;
    const bytes_of step = (bytes_of)all16(k.dithered ? 2 * 159 & 255 : 0);
    const bytes_of block_step = (bytes_of)all16(k.dithered ? COLUMNS * 2 * 159 & 255 : 0);
    const pairs_of low = all16(-127 * 256), whole = all16(-128);
    pairs_of d[PARTS];
    for (int n = 0; n < PARTS; ++n) d[n] = k.dithered ? part(first, n) : all16(128);
    const int32_t *B = token.B_pairs, *C = token.C_pairs;
    i64x8 total[2] = {};
    i32x16 over = {};
    for (int64_t begin = 0; begin < blocks; begin += GROUP) {
        const int64_t count = blocks - begin < GROUP ? blocks - begin : GROUP;
        pairs_of v[GROUP][PARTS][COLUMNS];
        i32x16 tops[GROUP], olds[GROUP], growns[GROUP], e[GROUP], ups[GROUP], seen[GROUP], any[GROUP];
        for (int64_t g = 0; g < count; ++g) {
            const int32_t shift = saturate(token.shift - x_exp - token.B_exp[begin + g], -31, 62);
            const i32x16 before = widen(h_exp + g * LANES), reach = (size - shift) & some;
            const i32x16 top = before > reach ? before : reach;
            tops[g] = top;
            olds[g] = twice(decay_factors(token.decay, top - before, token.threshold));
            growns[g] = twice(input_factors(dtx, top + (shift - FACTOR_BITS)));
        }
        for (int64_t g = 0; g < count; ++g, B += COLUMNS) {
            for (int n = 0; n < PARTS; ++n) {
                const pairs_of a = part(olds[g], n), m = part(growns[g], n);
                pairs_of highest = {}, lowest = {};
                #pragma GCC unroll UNROLL
                for (int i = 0; i < COLUMNS; ++i) {
                    const pairs_of q = FIRST ? load_columns(h + g * BLOCK * LANES + 2 * i * LANES + n * PAIRS) << UNIT_BITS
                                             : kept[(g * PARTS + n) * COLUMNS + i];
                    v[g][n][i] = multiply_high(q, a) + multiply_high(all_pairs(B[i]), m);
                    highest = larger(highest, v[g][n][i]);
                    lowest = smaller(lowest, v[g][n][i]);
                }
                put_part(seen[g], n, highest | (lowest ^ (lowest >> 15)));
                put_part(any[g], n, highest | lowest);
            }
        }
        for (int64_t g = 0; g < count; ++g) {
            const i32x16 bits = bit_length((seen[g] & 0xFFFF) | (i32x16)((u32x16)seen[g] >> 16));
            const i32x16 fits = clamp(tops[g] + bits - 2 * UNIT_BITS, all(0), all(63));
            e[g] = fits & (any[g] != 0);
            ups[g] = twice(shift_left(all(1), tops[g] + 1 - fits));
        }
        for (int64_t g = 0; g < count; ++g, C += COLUMNS, h_exp += LANES) {
            i32x16 dot;
            for (int n = 0; n < PARTS; ++n) {
                const pairs_of up = part(ups[g], n);
                pairs_of here = d[n];
                d[n] = (pairs_of)((bytes_of)d[n] + block_step);
                lanes_of dots[2] = {};
                #pragma GCC unroll UNROLL
                for (int i = 0; i < COLUMNS; ++i) {
                    const pairs_of q = larger(add_saturated(v[g][n][i] * up, here), low) >> 1 & whole;
                    here = (pairs_of)((bytes_of)here + step);
                    dots[i & 1] = add_products(dots[i & 1], q, all_pairs(C[i]));
                    if (KEEP) kept[n * COLUMNS + i] = q;
                    if (STORE) store_columns(h + 2 * i * LANES + n * PAIRS, q >> UNIT_BITS);
                }
                put_part(dot, n, (dots[0] + dots[1]) >> UNIT_BITS);
            }
            const i32x16 limited = clamp(e[g], all(0), all(LARGEST_EXP));
            over -= limited != e[g];
            narrow((int8_t*)h_exp, limited);
            total[0] += lower(dot) << (lower(limited) + token.C_exp[begin + g]);
            total[1] += upper(dot) << (upper(limited) + token.C_exp[begin + g]);
            h += BLOCK * LANES;
            kept += PARTS * COLUMNS;
        }
    }
    *lost_h += sum(lower(over)) + sum(upper(over));
    for (int half = 0; half < 2; ++half) {
        const i64x8 sums = round_shift(total[half], k.y);
        const i64x8 read = clamp(sums, all64(-LARGEST24 - 1), all64(LARGEST24));
        const i64x8 Dx = (half ? upper(x) : lower(x)) * D;
        const i64x8 skip = round_shift(Dx, saturate(k.D_shift - x_exp, -31, 62));
        const i64x8 value = clamp(read + skip, all64(-LARGEST24 - 1), all64(LARGEST24));
        *lost_y += sum(-(read != sums) - (value != read + skip));
        narrow(y + p + 8 * half, value);
    }
}

}  // namespace
}  // namespace lightmamba
