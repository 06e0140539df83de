// One token's update of a head's state, row by row, of any sizes. Source: numerics/ssm.py (SsmStep),
// ssm_update.py.
//
// The state lies in tiles of up to 16 rows of headdim: (tiles, d_state, rows), its exponents
// (tiles, blocks, rows).
#pragma once
#include "../../native/arithmetic.hpp"
#include "../../native/quantize.hpp"

namespace lightmamba {
namespace {

constexpr int LANES = 16, BLOCK = 32, COLUMNS = BLOCK / 2;
constexpr int64_t FRAME = (int64_t(1) << 31) - 1;
constexpr int DECAY_BITS = 24, FACTOR_BITS = 15, UNIT_BITS = 7, LARGEST_EXP = 24;
constexpr int LARGEST_FACTOR = (1 << FACTOR_BITS) - 1;

// What one token gives to all rows of a head.
struct Token {
    int64_t decay, dt, shift;        // shift: of dt*x*B into the frame, without the exponents
    const int8_t *x, *x_exp, *B, *B_exp, *C, *C_exp;
    const int32_t *B_pairs, *C_pairs;  // of two columns, (d_state / 2); B times 2^7
    uint32_t dither;                 // 193 * position
    int32_t threshold;               // that the decay is rounded by, of 512
};

// A block of one row of a wide state, whose values lie `stride` apart: decay*h and dt*x*B in the
// frame, added, rounded and dithered. Returns the new sum with C; *exponent is read and written.
APART int64_t update_in_frame(
    const Mamba2& k, const Token& token, int16_t* h, int64_t stride, int64_t p, int64_t n,
    int64_t dtx, int64_t shift, uint8_t* exponent, int64_t* lost
) {
    const int64_t before = *exponent, high = (int64_t(1) << (k.state_bits - 1)) - 1;
    int64_t frame[BLOCK], largest = 0;
    for (int64_t i = 0; i < k.state_block; ++i) {
        const int64_t old = round_shift(token.decay * h[i * stride], DECAY_BITS - before);
        const int64_t wide = old + round_shift(dtx * token.B[n + i], shift);
        frame[i] = saturate(wide, -FRAME, FRAME);
        *lost += frame[i] != wide;
        const int64_t size = frame[i] < 0 ? -frame[i] : frame[i];
        largest = largest < size ? size : largest;
    }
    const int64_t bits = bit_length(uint64_t(largest)) - (k.state_bits - 1), e = bits > 0 ? bits : 0;
    int64_t dot = 0;
    for (int64_t i = 0; i < k.state_block; ++i) {
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

// The same of a state of 8 bits, in the unit of the block; counts blocks that saturate.
APART int64_t update_in_unit(
    const Mamba2& k, const Token& token, int8_t* h, int64_t stride, int64_t p, int64_t n,
    int64_t dtx, int64_t shift, uint8_t* exponent, int64_t* lost
) {
    const int64_t before = *exponent, size = bit_length(uint64_t(dtx < 0 ? ~dtx : dtx));
    const int64_t reach = dtx == 0 ? 0 : size - shift, top = before > reach ? before : reach;
    const int64_t right = saturate(top - before, 0, FACTOR_BITS);
    const int64_t wide = ((token.decay >> right) + token.threshold) >> (DECAY_BITS - FACTOR_BITS);
    const int64_t kept = saturate(wide, 0, LARGEST_FACTOR);
    const int64_t by = saturate(shift + top - FACTOR_BITS, -62, DECAY_BITS);
    const int64_t grown = saturate(round_shift(dtx, by), -LARGEST_FACTOR - 1, LARGEST_FACTOR);
    int64_t v[BLOCK], seen = 0, dot = 0;
    bool some = false;
    for (int64_t i = 0; i < k.state_block; ++i) {
        v[i] = round_shift(kept * h[i * stride], 8) + round_shift(grown * token.B[n + i], 8);
        seen |= v[i] < 0 ? ~v[i] : v[i];
        some |= v[i] != 0;
    }
    const int64_t bits = bit_length(uint64_t(seen)), wanted = top + bits - 2 * UNIT_BITS;
    const int64_t e = some && wanted > 0 ? wanted : 0, up = some ? top + 1 - e : 0;
    for (int64_t i = 0; i < k.state_block; ++i) {
        const int64_t index = p * k.padded_state + n + i;
        const int64_t d = k.dithered ? (159 * index + token.dither) & 255 : 128;
        const int64_t q = saturate(((v[i] << up) + d) >> 8, -127, 127);
        h[i * stride] = q;
        dot += q * token.C[n + i];
    }
    *lost += e > LARGEST_EXP;
    *exponent = e > LARGEST_EXP ? LARGEST_EXP : e;
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
            const int64_t n = b * k.state_block, dtx = token.dt * x;
            int64_t dot;
            if constexpr (sizeof(T) == 1) {
                dot = update_in_unit(k, token, at, rows, p, n, dtx, shift, exponent, lost_h);
            } else {
                dot = update_in_frame(k, token, at, rows, p, n, dtx, shift, exponent, lost_h);
            }
            total += dot << (*exponent + token.C_exp[b]);
        }
        y[p] = finish_row(k, D, total, x, e, lost_y);
    }
}

}  // namespace
}  // namespace lightmamba
