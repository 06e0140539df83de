// One head's recurrence over a run of tokens. Source: numerics/ssm.py (SsmStep).
#pragma once
#include "../../native/scratch.hpp"
#include "scan_tile.hpp"

namespace lightmamba {
namespace {

// Scratch of a head's run of tokens: what it needs besides the state.
struct ScanScratch {
    pairs_of* kept;       // (d_state / 2, PARTS), of a tile
    int32_t* BC;          // (tokens, 2, d_state / 2), pairs of B and C
    Token* tokens;        // (tokens)
    int64_t* lost;        // (tokens, 2)
    int32_t* y;           // (headdim), of a recorded token, which nobody reads
    char* h;              // (headdim, d_state), where the kept state must wait
    uint8_t* h_exp;       // of a tile, or of the head
    int8_t* zeros;        // (d_state), C of a recorded token
    int64_t bytes;

    ScanScratch(const Mamba2& k, int64_t tokens, void* space) {
        const int64_t N = k.padded_state, size = k.headdim * N;
        Scratch scratch{space};
        kept = scratch.take<pairs_of>(LANES * N * 2 / int64_t(sizeof(pairs_of)));
        BC = scratch.take<int32_t>(tokens * N);
        this->tokens = scratch.take<Token>(tokens);
        lost = scratch.take<int64_t>(2 * tokens);
        y = scratch.take<int32_t>(k.headdim);
        h = scratch.take<char>(size * (k.state_bits == 8 ? 1 : 2));
        h_exp = scratch.take<uint8_t>(size / k.state_block);
        zeros = scratch.take<int8_t>(N);
        bytes = scratch.bytes;
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

// B times 2^7, and C, in 16 bits: two columns are a pair.
INLINE void make_pairs(const int8_t* B, const int8_t* C, int64_t N, int32_t* B_pairs, int32_t* C_pairs) {
    for (int64_t n = 0; n < N; n += 16) {
        narrow((int16_t*)B_pairs + n, widen(B + n) << UNIT_BITS);
        narrow((int16_t*)C_pairs + n, widen(C + n));
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
        nullptr, nullptr, 0, 0,
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
    const bool fast = k.state_bits == 8 && k.state_block == BLOCK && k.tile_rows == LANES &&
                      k.x_block % LANES == 0;
    const ScanScratch scratch(k, count, space);
    char* h = states.of(slot.sequence) + k.h_at + head * size * bytes;
    uint8_t* h_exp = (uint8_t*)states.of(slot.sequence) + k.h_exp_at + head * k.headdim * blocks;
    if (replay) std::memset(scratch.zeros, 0, N);
    std::memset(scratch.lost, 0, 2 * count * 8);
    for (int64_t t = 0; t < count; ++t) {
        Token& now = scratch.tokens[t];
        const int64_t v = slot.first + t - replay, i = v * k.nheads + head, g = v * k.ngroups + group;
        int32_t *B_pairs = scratch.BC + t * N, *C_pairs = B_pairs + N / 2;
        now = t < replay ? recorded_token(k, states.recorded(slot.sequence, t), head, group, scratch.zeros)
                         : Token{own.decay[i], own.dt[i], k.frame + own.dt_shift[i],
                                 own.x + i * x_blocks * k.x_block, own.x_exp + i * x_blocks,
                                 own.B + g * N, own.B_exp + g * blocks, own.C + g * N,
                                 own.C_exp + g * blocks, nullptr, nullptr, 0, 0};
        const uint64_t position = uint64_t(states.position[slot.sequence]) + t - replay;
        now.B_pairs = B_pairs;
        now.C_pairs = C_pairs;
        now.dither = uint32_t(193 * position);
        now.threshold = k.dithered ? 2 * int32_t((159 * position + 193 * head) & 255) + 1 : 256;
        if (fast) make_pairs(now.B, now.C, N, B_pairs, C_pairs);
    }
    const auto y = [&](int64_t t) {
        return t < replay ? scratch.y : own.y + (slot.first + t - replay) * k.d_inner + head * k.headdim;
    };
    const int64_t d = k.D[head], tile_exps = LANES * blocks;
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
            run(k, scratch.tokens[t], d, p, tile, scratch.kept, exps, y(t), lost, lost + 1);
            if (open && store) std::memcpy(there, exps, tile_exps);
        }
    }
    for (int64_t t = replay; t < count; ++t) {
        const int64_t v = slot.first + t - replay;
        add_lost(w.lost_of(v), LOST_SSM_H, scratch.lost[2 * t]);
        add_lost(w.lost_of(v), LOST_SSM_Y, scratch.lost[2 * t + 1]);
        if (t >= kept) record_token(k, own, states.to_record(slot.sequence, t - kept), v, head);
    }
}

}  // namespace
}  // namespace lightmamba
