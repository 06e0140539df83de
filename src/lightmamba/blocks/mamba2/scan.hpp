// One head's recurrence over a run of tokens. Source: numerics/ssm.py (SsmStep), blocks.py.
//
// The state lies in tiles of up to 16 rows of headdim: (tiles, d_state, rows), its exponents
// (tiles, blocks, rows). So a lane of a vector is a row, and no sum or maximum runs across lanes.
#pragma once
#include "../../native/arithmetic.hpp"
#include "../../native/quantize.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

constexpr int LANES = 16, BLOCK = 32;
constexpr int64_t FRAME = (int64_t(1) << 31) - 1;

// What one token gives to all rows of a head.
struct Token {
    int64_t decay, dt, shift;        // shift: of dt*x*B into the frame, without the exponents
    const int8_t *x, *x_exp, *B, *B_exp, *C, *C_exp;
    const int32_t *B_factor, *C_factor;  // as add_product takes them, (d_state)
    uint32_t dither;                 // 193 * position
};

// decay*h and dt*x*B in the frame, rounded and dithered again, for one row and block, in 64 bits;
// the values lie `stride` apart. Returns the new sum with C; *exponent is read and written.
template <class T>
APART int64_t block_wide(
    const Mamba2& k, const Token& token, T* h, int64_t stride, int64_t block, int64_t p, int64_t n,
    int64_t dtx, int64_t shift, uint8_t* exponent, int64_t* lost
) {
    const int64_t before = *exponent, high = (int64_t(1) << (k.state_bits - 1)) - 1;
    int64_t frame[BLOCK], largest = 0;
    for (int64_t i = 0; i < block; ++i) {
        const int64_t old = round_shift(token.decay * h[i * stride], 24 - before);
        const int64_t wide = old + round_shift(dtx * token.B[n + i], shift);
        frame[i] = saturate(wide, -FRAME, FRAME);
        *lost += frame[i] != wide;
        const int64_t size = frame[i] < 0 ? -frame[i] : frame[i];
        largest = largest < size ? size : largest;
    }
    const int64_t bits = bit_length(uint64_t(largest)) - (k.state_bits - 1), e = bits > 0 ? bits : 0;
    int64_t dot = 0;
    for (int64_t i = 0; i < block; ++i) {
        int64_t q;
        if (k.dithered) {
            const int64_t d = (159 * (p * k.padded_state + n + i) + token.dither) & 255;
            q = (frame[i] + ((d << e) >> 8) + ((int64_t(1) << e) >> 9)) >> e;
        } else {
            q = round_shift(frame[i], e);
        }
        q = saturate(q, -high, high);
        h[i * stride] = q;
        dot += q * token.C[n + i];
    }
    *exponent = e;
    return dot;
}

// Sum of the state with C to y, with D*x added.
INLINE int64_t finish_row(const Mamba2& k, int64_t D, int64_t total, int64_t x, int64_t x_exp, int64_t* lost) {
    const int64_t wide = round_shift(total, k.y), read = saturate(wide, -LARGEST24 - 1, LARGEST24);
    const int64_t skip = round_shift(D * x, saturate(k.D_shift - x_exp, -31, 62));
    const int64_t y = saturate(read + skip, -LARGEST24 - 1, LARGEST24);
    *lost += (read != wide) + (y != read + skip);
    return y;
}

// Any sizes, row by row.
template <class T>
APART void scan_plain(
    const Mamba2& k, const Token& token, int64_t D, T* h, uint8_t* h_exp, int32_t* y,
    int64_t* lost_h, int64_t* lost_y
) {
    const int64_t rows = k.tile_rows, blocks = k.padded_state / k.state_block;
    for (int64_t p = 0; p < k.headdim; ++p) {
        const int64_t tile = p / rows, r = p % rows, x = token.x[p], e = token.x_exp[p / k.x_block];
        int64_t total = 0;
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t shift = saturate(token.shift - e - token.B_exp[b], -31, 62);
            T* at = h + (tile * k.padded_state + b * k.state_block) * rows + r;
            uint8_t* exponent = h_exp + (tile * blocks + b) * rows + r;
            const int64_t dot = block_wide(
                k, token, at, rows, k.state_block, p, b * k.state_block, token.dt * x, shift,
                exponent, lost_h
            );
            total += dot << (*exponent + token.C_exp[b]);
        }
        y[p] = finish_row(k, D, total, x, e, lost_y);
    }
}

// 16 rows at a time in 32 bits, where the state has 8 bits in blocks of 32.
//
// With an exponent of at most 22 and a shift of at least 1, decay*h with its half is below
// 127*2^24 + 2^23, dt*x*B with its half below 2^16*127^2 + 2^30, their sum in the frame below 2^30,
// and a dither below 2^23 is added to it: nothing wraps. A shift of 31 or more gives 0.
// The first token of a run reads the state from memory, int8, and the last one writes it there;
// between them it stays in `wide`.
template <bool FIRST, bool LAST>
APART void scan_tile(
    const Mamba2& k, const Token& token, int64_t D, int64_t p, int8_t* h, i32x16* wide,
    uint8_t* h_exp, int32_t* y, int64_t* lost_h, int64_t* lost_y
) {
    const i32x16 x = widen(token.x + p), dtx = split24(x * int32_t(token.dt));
    const i32x16 ramp = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t blocks = k.padded_state / BLOCK, x_exp = token.x_exp[p / k.x_block];
    const i32x16 decay = all(token.decay), step = all(k.dithered ? 159 << 24 : 0);
    const i32x16 low = all(-127), high = all(127);
    i64x8 total[2] = {};
    for (int64_t b = 0; b < blocks; ++b, h += BLOCK * LANES, wide += BLOCK, h_exp += LANES) {
        const int64_t shift = saturate(token.shift - x_exp - token.B_exp[b], -31, 62);
        const i32x16 before = widen(h_exp);
        const int64_t C_exp = token.C_exp[b], n = b * BLOCK;
        const int32_t *B = token.B_factor + n, *C = token.C_factor + n;
        i32x16 e, dot, frame[BLOCK];
        const i32x16 far = before > 22;
        if (shift < 1 || any_lane(far)) {
            int32_t values[BLOCK * LANES], dots[LANES];
            for (int i = 0; i < BLOCK * LANES; ++i) values[i] = FIRST ? h[i] : ((int32_t*)wide)[i];
            for (int r = 0; r < LANES; ++r) {
                dots[r] = block_wide(
                    k, token, values + r, LANES, BLOCK, p + r, n, int32_t(token.dt) * token.x[p + r],
                    shift, h_exp + r, lost_h
                );
            }
            for (int i = 0; i < BLOCK * LANES; ++i) {
                if (LAST) h[i] = values[i];
                else ((int32_t*)wide)[i] = values[i];
            }
            dot = load<i32x16>(dots);
            e = widen(h_exp);
        } else {
            const i32x16 by = all(shift < 31 ? shift : 31), half = all(1 << (by[0] - 1));
            const i32x16 old_by = 24 - before, old_half = all(1) << (old_by - 1);
            i32x16 any = {}, also = {};
            #pragma GCC unroll 4
            for (int i = 0; i < BLOCK; i += 2) {
                const i32x16 h0 = FIRST ? widen(h + i * LANES) : wide[i];
                const i32x16 h1 = FIRST ? widen(h + (i + 1) * LANES) : wide[i + 1];
                frame[i] = shift_right(h0 * decay + old_half, old_by) +
                           shift_right(add_product(half, dtx, B[i]), by);
                frame[i + 1] = shift_right(h1 * decay + old_half, old_by) +
                               shift_right(add_product(half, dtx, B[i + 1]), by);
                any |= magnitude(frame[i]);
                also |= magnitude(frame[i + 1]);
            }
            e = clamp(bit_length(any | also) - 7, all(0), all(31));
            const i32x16 out = 32 - e;
            i32x16 d = all(int32_t(128u << 24));
            if (k.dithered) {
                const i32x16 index = (ramp + int32_t(p)) * int32_t(159 * k.padded_state);
                d = ((index + int32_t(159 * n + token.dither)) << 24) | (1 << 23);
            }
            i32x16 first = {}, second = {};
            const i32x16 steps = step + step;
            for (int i = 0; i < BLOCK; i += 4) {
                i32x16 q[4];
                for (int n = 0; n < 4; n += 2, d += steps) {
                    const i32x16 d0 = frame[i + n] + shift_out(d, out);
                    const i32x16 d1 = frame[i + n + 1] + shift_out(d + step, out);
                    q[n] = clamp(shift_right(d0, e), low, high);
                    q[n + 1] = clamp(shift_right(d1, e), low, high);
                    first = add_product(first, q[n], C[i + n]);
                    second = add_product(second, q[n + 1], C[i + n + 1]);
                }
                if (LAST) {
                    store_bytes(h + i * LANES, q);
                } else {
                    for (int n = 0; n < 4; ++n) wide[i + n] = q[n];
                }
            }
            dot = first + second;
            narrow((int8_t*)h_exp, e);
        }
        total[0] += lower(dot) << (lower(e) + C_exp);
        total[1] += upper(dot) << (upper(e) + C_exp);
    }
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

// Bytes of scratch that a head needs for `count` tokens.
INLINE int64_t scan_scratch(const Mamba2& k, int64_t count) {
    return (2 * count + LANES) * k.padded_state * 4;
}

// The recurrence of one head over one slot; updates the state, writes y.
APART void scan_item(
    const Mamba2& k, const Work& w, const Mamba2Work& own, const Sequences& states, const Slot& slot, int64_t head,
    void* scratch
) {
    const int64_t N = k.padded_state, blocks = N / k.state_block, group = head / (k.nheads / k.ngroups);
    const int64_t x_blocks = (k.headdim + k.x_block - 1) / k.x_block, size = k.headdim * N;
    const int64_t bytes = k.state_bits == 8 ? 1 : 2;
    char* h = states.of(slot.sequence) + k.h_at + head * size * bytes;
    uint8_t* h_exp = (uint8_t*)states.of(slot.sequence) + k.h_exp_at + head * k.headdim * blocks;
    i32x16* wide = (i32x16*)scratch;
    int32_t* BC = (int32_t*)scratch + LANES * N;
    const int8_t *B = own.B, *C = own.C;
    for (int64_t t = 0; t < slot.count; ++t) {
        const int64_t from = ((slot.first + t) * k.ngroups + group) * N;
        for (int64_t n = 0; n < N; ++n) {
            BC[2 * t * N + n] = as_factor(B[from + n]);
            BC[(2 * t + 1) * N + n] = as_single(C[from + n]);
        }
    }
    int64_t lost_h = 0, lost_y = 0;
    const auto token = [&](int64_t t) {
        const int64_t v = slot.first + t, i = v * k.nheads + head, g = v * k.ngroups + group;
        const uint64_t position = uint64_t(states.position[slot.sequence]) + t;
        return Token{
            own.decay[i], own.dt[i], k.frame + own.dt_shift[i], own.x + i * x_blocks * k.x_block,
            own.x_exp + i * x_blocks, B + g * N, own.B_exp + g * blocks, C + g * N, own.C_exp + g * blocks,
            BC + 2 * t * N, BC + (2 * t + 1) * N, uint32_t(193 * position),
        };
    };
    const auto y = [&](int64_t t) { return own.y + (slot.first + t) * k.d_inner + head * k.headdim; };
    const bool fast = k.state_bits == 8 && k.state_block == BLOCK && k.tile_rows == LANES &&
                      k.x_block % LANES == 0;
    if (!fast) {
        for (int64_t t = 0; t < slot.count; ++t) {
            const Token now = token(t);
            if (bytes == 1) scan_plain(k, now, k.D[head], (int8_t*)h, h_exp, y(t), &lost_h, &lost_y);
            else scan_plain(k, now, k.D[head], (int16_t*)h, h_exp, y(t), &lost_h, &lost_y);
        }
    }
    for (int64_t p = 0; fast && p < k.headdim; p += LANES) {
        int8_t* tile = (int8_t*)h + p * N;
        uint8_t* exponents = h_exp + p * blocks;
        const int64_t last = slot.count - 1, d = k.D[head];
        if (last == 0) {
            scan_tile<true, true>(k, token(0), d, p, tile, wide, exponents, y(0), &lost_h, &lost_y);
            continue;
        }
        scan_tile<true, false>(k, token(0), d, p, tile, wide, exponents, y(0), &lost_h, &lost_y);
        for (int64_t t = 1; t < last; ++t) {
            scan_tile<false, false>(k, token(t), d, p, tile, wide, exponents, y(t), &lost_h, &lost_y);
        }
        scan_tile<false, true>(k, token(last), d, p, tile, wide, exponents, y(last), &lost_h, &lost_y);
    }
    add_lost(w.lost, LOST_H, lost_h);
    add_lost(w.lost, LOST_Y, lost_y);
}

}  // namespace
}  // namespace lightmamba
