// Between in_proj and the state: convolution, SiLU, blocks of x, B and C, dt and decay.
// Source: numerics/conv.py, blocks.py (Pow2Block), ssm.py (Discretize).
#pragma once
#include <initializer_list>

#include "../../native/arithmetic.hpp"
#include "../../native/exp2.hpp"
#include "../../native/pow2.hpp"
#include "../../native/silu.hpp"

namespace lightmamba {
namespace {

// Convolution and SiLU of channels begin .. begin + count - 1 of one slot; advances its state.
APART void convolve(
    const Mamba2& k, const Work& w, const Mamba2Work& own, const Sequences& states, const Slot& slot,
    int64_t begin, int64_t count, int8_t* window
) {
    const int64_t taps = k.d_conv, dim = k.conv_dim, width = k.in_rows, kept = slot.replay + slot.commit;
    int8_t* state = (int8_t*)states.of(slot.sequence) + k.conv_at;
    int8_t* recorded = window + (taps - 1) * count;
    for (int64_t t = 0; t < taps - 1; ++t) {
        std::memcpy(window + t * count, state + t * dim + begin, count);
    }
    for (int64_t t = 0; t < slot.replay; ++t) {
        std::memcpy(recorded + t * count, states.recorded(slot.sequence, t) + k.taps_at + begin, count);
    }
    for (int64_t t = 0; t < slot.count; ++t) {
        i32x16 bad_in = {}, bad_out = {};
        const int16_t* row = w.rows + (slot.first + t) * width + k.d_inner + begin;
        int16_t* out = own.conv + (slot.first + t) * dim + begin;
        int8_t* now = recorded + (slot.replay + t) * count;
        int64_t c = 0;
        for (; c + 16 <= count; c += 16) {
            const int64_t at = begin + c;
            for (const int32_t* each : {k.conv_in_shift, k.conv_bias, k.conv_out_shift, k.conv_silu_shift}) {
                __builtin_prefetch(each + at + count);
            }
            for (int64_t tap = 0; tap < taps; ++tap) __builtin_prefetch(k.conv_weight + tap * dim + at + count);
            const i32x16 out_shift = load<i32x16>(k.conv_out_shift + at);
            if (any(out_shift < -4)) break;  // 32 bits might not do
            const i32x16 in_shift = load<i32x16>(k.conv_in_shift + at);
            const i32x16 x = widen(row + c);
            const i32x16 shifted = (x + ((all(1) << in_shift) >> 1)) >> in_shift;
            const i32x16 kept = clamp(shifted, all(-128), all(127));
            narrow(now + c, kept);
            i32x16 acc = load<i32x16>(k.conv_bias + at);
            for (int64_t tap = 0; tap < taps; ++tap) {
                const i32x16 one = widen(now + c - (taps - 1 - tap) * count);
                acc += one * load<i32x16>(k.conv_weight + tap * dim + at);
            }
            const i32x16 right = clamp(out_shift, all(0), all(28));
            const i32x16 left = clamp(-out_shift, all(0), all(4));
            const i32x16 wide = ((acc << left) + ((all(1) << right) >> 1)) >> right;
            const i32x16 value = clamp(wide, all(LOW16), all(HIGH16));
            bad_in -= kept != shifted;
            bad_out -= value != wide;
            const i32x16 soft = silu(*k.tables, value, load<i32x16>(k.conv_silu_shift + at));
            narrow(out + c, soft);
        }
        int64_t lost_in = sum(lower(bad_in) + upper(bad_in)), lost_out = sum(lower(bad_out) + upper(bad_out));
        for (; c < count; ++c) {
            const int64_t at = begin + c;
            const int64_t shifted = round_shift(row[c], k.conv_in_shift[at]);
            now[c] = saturate(shifted, -128, 127);
            lost_in += now[c] != shifted;
            int64_t acc = k.conv_bias[at];
            for (int64_t tap = 0; tap < taps; ++tap) {
                acc += now[c - (taps - 1 - tap) * count] * k.conv_weight[tap * dim + at];
            }
            const int64_t wide = round_shift(acc, k.conv_out_shift[at]);
            const int64_t value = saturate(wide, LOW16, HIGH16);
            lost_out += value != wide;
            out[c] = silu(*k.tables, value, k.conv_silu_shift[at]);
        }
        add_lost(w.lost_of(slot.first + t), LOST_CONV_INPUT, lost_in);
        add_lost(w.lost_of(slot.first + t), LOST_CONV, lost_out);
    }
    for (int64_t t = 0; t < taps - 1; ++t) {
        std::memcpy(state + t * dim + begin, window + (kept + t) * count, count);
    }
    for (int64_t t = slot.commit; t < slot.count; ++t) {
        char* to = states.to_record(slot.sequence, t - slot.commit) + k.taps_at + begin;
        std::memcpy(to, recorded + (slot.replay + t) * count, count);
    }
}

// dt and exp(dt * A) of one head and vector.
INLINE int64_t discretize(const Mamba2& k, const Work& w, const Mamba2Work& own, int64_t v, int64_t head) {
    const Tables& t = *k.tables;
    const int64_t row = w.rows[v * k.in_rows + k.d_inner + k.conv_dim + head];
    const int64_t biased = row + k.dt_bias[head], kept = saturate(biased, LOW16, HIGH16);
    const int64_t offset = saturate(kept, k.dt_low, k.dt_high) - LOW16;
    const int64_t n = offset >> t.softplus_bits, fraction = offset & ((1 << t.softplus_bits) - 1);
    const int64_t mantissa =
        interpolate(t.softplus_base[n], t.softplus_delta[n], fraction, t.softplus_bits);
    const int64_t shift = saturate(t.softplus_shift[n] + k.A_shift[head] - 24, -30, 62);
    const int64_t at = v * k.nheads + head;
    own.dt[at] = mantissa;
    own.dt_shift[at] = t.softplus_shift[n];
    own.decay[at] = exp2_below(t, round_shift(mantissa * k.A[head], shift));
    return kept != biased;
}

// One item of the front of a layer: the channels of a head, or of a group's B or C, of one slot.
APART void front_item(
    const Mamba2& k, const Work& w, const Mamba2Work& own, const Sequences& states, const Slot& slot, int64_t item,
    int8_t* window
) {
    const int64_t wide = 2 * k.ngroups;  // B and C come first, since they are longer than a head
    const bool head = item >= wide;
    const int64_t part = head ? item - wide : item, count = head ? k.headdim : k.d_state;
    const int64_t block = head ? k.x_block : k.bc_block, blocks = (count + block - 1) / block;
    const int64_t lanes = head ? k.nheads : k.ngroups;
    const int64_t begin = head ? part * count : k.d_inner + part * count;
    convolve(k, w, own, states, slot, begin, count, window);
    const bool B = !head && part < k.ngroups;
    const int64_t lane = head || B ? part : part - k.ngroups;
    int8_t* q = head ? own.x : B ? own.B : own.C;
    int8_t* exponent = head ? own.x_exp : B ? own.B_exp : own.C_exp;
    for (int64_t v = slot.first; v < slot.first + slot.count; ++v) {
        const int64_t at = v * lanes + lane;
        const int16_t* from = own.conv + v * k.conv_dim + begin;
        pow2_blocks(from, count, block, q + at * blocks * block, exponent + at * blocks);
        if (head) add_lost(w.lost_of(v), LOST_DT, discretize(k, w, own, v, part));
    }
}

}  // namespace
}  // namespace lightmamba
