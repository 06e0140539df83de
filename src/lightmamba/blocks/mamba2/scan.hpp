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
// The first token of a run reads the state from memory, int8; between tokens it stays in `wide`. One
// token stores it in memory; where others follow, it is kept too.
template <bool FIRST, bool STORE, bool KEEP>
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
                if (STORE) h[i] = values[i];
                if (KEEP) ((int32_t*)wide)[i] = values[i];
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
                if (STORE) store_bytes(h + i * LANES, q);
                for (int n = 0; KEEP && n < 4; ++n) wide[i + n] = q[n];
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

// Scratch of a head's run of tokens: what it needs beside the state.
struct ScanScratch {
    i32x16* wide;         // (d_state), of a tile
    int32_t* BC;          // (tokens, 2, d_state), factors of B and C
    Token* tokens;        // (tokens)
    int64_t* lost;        // (tokens, 2)
    int32_t* y;           // (headdim), of a recorded token, which nobody reads
    char* h;              // (headdim, d_state), where the kept state must wait
    uint8_t* h_exp;       // of a tile, or of the head
    int8_t* zeros;        // (d_state), C of a recorded token
    int64_t bytes;

    ScanScratch(const Mamba2& k, int64_t tokens, void* space) : bytes(0) {
        const int64_t N = k.padded_state, size = k.headdim * N;
        const auto take = [&](int64_t n) {
            char* at = (char*)space + bytes;
            bytes += (n + 63) / 64 * 64;
            return at;
        };
        wide = (i32x16*)take(LANES * N * 4);
        BC = (int32_t*)take(2 * tokens * N * 4);
        this->tokens = (Token*)take(tokens * sizeof(Token));
        lost = (int64_t*)take(2 * tokens * 8);
        y = (int32_t*)take(k.headdim * 4);
        h = take(size * (k.state_bits == 8 ? 1 : 2));
        h_exp = (uint8_t*)take(size / k.state_block);
        zeros = (int8_t*)take(N);
    }
};

// Bytes of scratch that a head needs for `tokens`.
INLINE int64_t scan_scratch(const Mamba2& k, int64_t tokens) { return ScanScratch(k, tokens, nullptr).bytes; }

// Keep what an update of one head needs of a new token, so that it can be done later.
INLINE void record_token(
    const Mamba2& k, const Mamba2Work& own, char* to, int64_t v, int64_t head
) {
    const int64_t width = (k.headdim + k.x_block - 1) / k.x_block, at = v * k.nheads + head;
    const int64_t heads = k.nheads / k.ngroups, g = v * k.ngroups + head / heads;
    const int64_t N = k.padded_state, blocks = N / k.state_block;
    std::memcpy(to + k.x_at + head * width * k.x_block, own.x + at * width * k.x_block, width * k.x_block);
    std::memcpy(to + k.x_exp_at + head * width, own.x_exp + at * width, width);
    ((int32_t*)(to + k.dt_at))[head] = own.dt[at];
    ((int32_t*)(to + k.dt_shift_at))[head] = own.dt_shift[at];
    ((int32_t*)(to + k.decay_at))[head] = own.decay[at];
    if (head % heads) return;
    std::memcpy(to + k.B_at + head / heads * N, own.B + g * N, N);
    std::memcpy(to + k.B_exp_at + head / heads * blocks, own.B_exp + g * blocks, blocks);
}

// B and C of a token as add_product takes them.
INLINE void factors(const int8_t* B, const int8_t* C, int64_t N, int32_t* B_factor, int32_t* C_factor) {
    for (int64_t n = 0; n < N; ++n) {
        B_factor[n] = as_factor(B[n]);
        C_factor[n] = as_single(C[n]);
    }
}

// The inputs of an update of a recorded token; nobody reads its y.
INLINE Token recorded_token(
    const Mamba2& k, const char* r, int64_t head, int64_t group, const int8_t* zeros
) {
    const int64_t width = (k.headdim + k.x_block - 1) / k.x_block, N = k.padded_state;
    const auto number = [&](int64_t at) { return ((const int32_t*)(r + at))[head]; };
    const int8_t* bytes = (const int8_t*)r;
    return Token{
        number(k.decay_at), number(k.dt_at), k.frame + number(k.dt_shift_at),
        bytes + k.x_at + head * width * k.x_block, bytes + k.x_exp_at + head * width,
        bytes + k.B_at + group * N, bytes + k.B_exp_at + group * (N / k.state_block), zeros, zeros,
        nullptr, nullptr, 0,
    };
}

// The recurrence of one head over one slot: recorded tokens, then new ones; writes y of the new ones,
// and the state as it is after those that are kept.
APART void scan_item(
    const Mamba2& k, const Work& w, const Mamba2Work& own, const Sequences& states, const Slot& slot, int64_t head,
    void* space
) {
    const int64_t N = k.padded_state, blocks = N / k.state_block, group = head / (k.nheads / k.ngroups);
    const int64_t x_blocks = (k.headdim + k.x_block - 1) / k.x_block, size = k.headdim * N;
    const int64_t bytes = k.state_bits == 8 ? 1 : 2, replay = slot.replay, count = replay + slot.count;
    const int64_t kept = replay + slot.commit;
    const bool open = kept != count;
    const ScanScratch scratch(k, count, space);
    char* h = states.of(slot.sequence) + k.h_at + head * size * bytes;
    uint8_t* h_exp = (uint8_t*)states.of(slot.sequence) + k.h_exp_at + head * k.headdim * blocks;
    if (replay) std::memset(scratch.zeros, 0, N);
    std::memset(scratch.lost, 0, 2 * count * 8);
    for (int64_t t = 0; t < count; ++t) {
        Token& now = scratch.tokens[t];
        const int64_t v = slot.first + t - replay, i = v * k.nheads + head, g = v * k.ngroups + group;
        int32_t *B_factor = scratch.BC + 2 * t * N, *C_factor = B_factor + N;
        now = t < replay ? recorded_token(k, states.recorded(slot.sequence, t), head, group, scratch.zeros)
                         : Token{own.decay[i], own.dt[i], k.frame + own.dt_shift[i],
                                 own.x + i * x_blocks * k.x_block, own.x_exp + i * x_blocks,
                                 own.B + g * N, own.B_exp + g * blocks, own.C + g * N,
                                 own.C_exp + g * blocks, nullptr, nullptr, 0};
        now.B_factor = B_factor;
        now.C_factor = C_factor;
        now.dither = uint32_t(193 * (uint64_t(states.position[slot.sequence]) + t - replay));
        factors(now.B, now.C, N, B_factor, C_factor);
    }
    const auto y = [&](int64_t t) {
        return t < replay ? scratch.y : own.y + (slot.first + t - replay) * k.d_inner + head * k.headdim;
    };
    const int64_t d = k.D[head], tile_exps = LANES * blocks;
    const bool fast = k.state_bits == 8 && k.state_block == BLOCK && k.tile_rows == LANES &&
                      k.x_block % LANES == 0;
    if (!fast) {
        char* running = open ? scratch.h : h;
        uint8_t* exps = open ? scratch.h_exp : h_exp;
        const auto copy = [&](char* to, uint8_t* to_exp, const char* from, const uint8_t* from_exp) {
            std::memcpy(to, from, size * bytes);
            std::memcpy(to_exp, from_exp, k.headdim * blocks);
        };
        if (open) copy(running, exps, h, h_exp);
        for (int64_t t = 0; t < count; ++t) {
            int64_t* lost = scratch.lost + 2 * t;
            if (bytes == 1) scan_plain(k, scratch.tokens[t], d, (int8_t*)running, exps, y(t), lost, lost + 1);
            else scan_plain(k, scratch.tokens[t], d, (int16_t*)running, exps, y(t), lost, lost + 1);
            if (open && t + 1 == kept) copy(h, h_exp, running, exps);
        }
    }
    constexpr auto *STORE = scan_tile<false, true, false>, *KEEP = scan_tile<false, false, true>,
                   *BOTH = scan_tile<false, true, true>, *FIRST_STORE = scan_tile<true, true, false>,
                   *FIRST_KEEP = scan_tile<true, false, true>, *FIRST_BOTH = scan_tile<true, true, true>;
    for (int64_t p = 0; fast && p < k.headdim; p += LANES) {
        int8_t* tile = (int8_t*)h + p * N;
        uint8_t *there = h_exp + p * blocks, *exps = open ? scratch.h_exp : there;
        if (open) std::memcpy(exps, there, tile_exps);
        for (int64_t t = 0; t < count; ++t) {
            const bool store = t + 1 == kept, on = t + 1 < count;
            const auto run = t == 0 ? (!store ? FIRST_KEEP : on ? FIRST_BOTH : FIRST_STORE)
                                    : (!store ? KEEP : on ? BOTH : STORE);
            int64_t* lost = scratch.lost + 2 * t;
            run(k, scratch.tokens[t], d, p, tile, scratch.wide, exps, y(t), lost, lost + 1);
            if (open && store) std::memcpy(there, exps, tile_exps);
        }
    }
    for (int64_t t = replay; t < count; ++t) {
        const int64_t v = slot.first + t - replay;
        add_lost(w.lost_of(v), LOST_H, scratch.lost[2 * t]);
        add_lost(w.lost_of(v), LOST_Y, scratch.lost[2 * t + 1]);
        if (t >= kept) record_token(k, own, states.to_record(slot.sequence, t - kept), v, head);
    }
}

}  // namespace
}  // namespace lightmamba
