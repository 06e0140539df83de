"""Compiled loops over the functions of ``numerics/``: the integers of the reference, fast.

Each kernel says what its reference says, element by element; the only liberties are the order of
loops and 32-bit lanes where no value can need more, with the bound beside them.
"""

import numpy as np

from lightmamba.engine.jit import (
    add32,
    and32,
    kernel,
    max32,
    min32,
    mul32,
    sar32,
    scalar,
    shl32,
)
from lightmamba.numerics import blocks, conv, primitives, ssm, tables
from lightmamba.numerics.blocks import MAX_CODE

__all__ = ["combine", "front", "gate", "hadamard", "quantize", "rms", "scan"]

bit_length = scalar(primitives.bit_length)
round_shift = scalar(primitives.round_shift)
saturate = scalar(primitives.saturate)
interpolate = scalar(tables.interpolate)
normalize = scalar(tables.Rsqrt.normalize)
scale_index = scalar(blocks.scale_index)
divide_by_scale = scalar(blocks.divide_by_scale)
dither = scalar(blocks.dither)
gate_by_sigmoid = scalar(conv.gate_by_sigmoid)
merge = scalar(ssm.merge)
round_dithered = scalar(ssm.round_dithered)
i32 = np.int32

LANES = 32  # block of the state for which the 32-bit path is made
FRAME = (1 << 31) - 1
INT24 = (1 << 23) - 1


@kernel
def silu(x, shift, table):
    base, delta, bits = table
    offset = saturate(round_shift(x, shift), -32768, 32767) + 32768
    segment, fraction = offset >> bits, offset & ((1 << bits) - 1)
    return gate_by_sigmoid(x, interpolate(base[segment], delta[segment], fraction, bits))


@kernel
def rms(x, shift, groups, eps, low, high, table):
    vectors, channels = x.shape
    size = channels // groups
    base, delta, bits = table
    mantissa = np.empty((vectors, groups), dtype=np.int64)
    j = np.empty((vectors, groups), dtype=np.int64)
    for v in range(vectors):
        for g in range(groups):
            total = 0
            for i in range(g * size, (g + 1) * size):
                value = saturate(round_shift(x[v, i], shift), low, high)
                total += value * value
            f, exponent = normalize(total + eps)
            segment, fraction = (f - 16384) >> bits, (f - 16384) & ((1 << bits) - 1)
            mantissa[v, g] = interpolate(base[segment], delta[segment], fraction, bits)
            j[v, g] = exponent
    return mantissa, j


@kernel
def quantize(x, channels, block, base, thresholds, low, high, reciprocals):
    """Columns beyond those of ``x`` are zero."""
    vectors, given = x.shape
    offset, a, b, c, d = thresholds
    q = np.zeros((vectors, channels), dtype=np.int8)
    codes = np.zeros((vectors, channels // block), dtype=np.uint8)
    clipped = clamped = 0
    for v in range(vectors):
        for n in range(-(-given // block)):
            stop = min((n + 1) * block, given)
            magnitude = np.int64(0)
            for i in range(n * block, stop):
                magnitude = max(magnitude, abs(np.int64(x[v, i])))
            code = 0
            if magnitude > 0:
                index = scale_index(magnitude, offset, a, b, c, d) - 4 * base
                code = saturate(index, 0, MAX_CODE)
                clamped += code != index
            codes[v, n] = code
            reciprocal, shift = reciprocals[code & 3], (code >> 2) + base
            for i in range(n * block, stop):
                wide = divide_by_scale(np.int64(x[v, i]), reciprocal, shift)
                value = saturate(wide, low, high)
                clipped += value != wide
                q[v, i] = value
    return q, codes, clipped, clamped


@kernel
def combine(sums, act, scale, acc_shift, mantissa, j, row_shift, limits, out):
    """Scale and add block sums, apply 1/rms; adds to ``out``, one norm group after the other.

    The scaled sum of a weight group is below 2^53, so float64 holds it exactly.
    """
    blocks, vectors, rows = sums.shape
    groups, parts = len(scale), mantissa.shape[1]
    per_group, per_part = blocks // groups, groups // parts
    wide_low, wide_high, low, high = limits
    lost = 0
    total = np.empty(rows, dtype=np.float64)
    acc = np.empty(rows, dtype=np.int64)
    for v in range(vectors):
        for part in range(parts):
            acc[:] = 0
            for g in range(part * per_part, (part + 1) * per_part):
                if per_group == 4:
                    b = 4 * g
                    f0, f1, f2, f3 = act[v, b], act[v, b + 1], act[v, b + 2], act[v, b + 3]
                    for r in range(rows):
                        first = sums[b, v, r] * f0 + sums[b + 1, v, r] * f1
                        second = sums[b + 2, v, r] * f2 + sums[b + 3, v, r] * f3
                        acc[r] += np.int64(first + second) * scale[g, r]
                else:
                    total[:] = 0
                    for b in range(g * per_group, (g + 1) * per_group):
                        for r in range(rows):
                            total[r] += sums[b, v, r] * act[v, b]
                    for r in range(rows):
                        acc[r] += np.int64(total[r]) * scale[g, r]
            factor, shift = mantissa[v, part], j[v, part]
            for r in range(rows):
                rounded = round_shift(acc[r], acc_shift)
                wide = saturate(rounded, wide_low, wide_high)
                scaled = round_shift(wide * factor, saturate(shift + row_shift[r], 0, 62))
                value = saturate(scaled, low, high)
                lost += (wide != rounded) + (value != scaled)
                out[v, r] += value
    return lost


@kernel
def convolve(rows, start, state, params, table, out):
    """Convolution and SiLU of columns of ``rows``; also the next state and two counts."""
    in_shift, weight, bias, out_shift, silu_shift = params
    batch, seqlen, channels = out.shape
    taps = len(weight)
    window = np.empty((taps - 1 + seqlen, channels), dtype=np.int8)
    after = np.empty_like(state)
    acc = np.empty(channels, dtype=np.int32)  # 26 bits: a bias of 24 and a few products of 15
    lost_in = lost_out = 0
    for s in range(batch):
        window[: taps - 1] = state[s]
        for t in range(seqlen):
            for c in range(channels):
                shifted = round_shift(np.int64(rows[s, t, start + c]), in_shift[c])
                value = saturate(shifted, -128, 127)
                lost_in += value != shifted
                window[taps - 1 + t, c] = value
            acc[:] = bias
            for k in range(taps):
                for c in range(channels):
                    acc[c] += window[t + k, c] * weight[k, c]
            for c in range(channels):
                wide = round_shift(np.int64(acc[c]), out_shift[c])
                value = saturate(wide, -32768, 32767)
                lost_out += value != wide
                out[s, t, c] = silu(value, silu_shift[c], table)
        after[s] = window[seqlen:]
    return after, lost_in, lost_out


@kernel
def pow2_blocks(x, start, width, block, q, exponents):
    """Quantize heads of ``width`` columns from ``start`` on to int8, padded to whole blocks."""
    batch, seqlen, heads, padded = q.shape
    for s in range(batch):
        for t in range(seqlen):
            for head in range(heads):
                first = start + head * width
                for n in range(padded // block):
                    at, stop = n * block, min((n + 1) * block, width)
                    magnitude = np.int64(0)
                    for i in range(at, stop):
                        magnitude = max(magnitude, abs(np.int64(x[s, t, first + i])))
                    e = max(bit_length(magnitude) - 7, 0)
                    exponents[s, t, head, n] = e
                    for i in range(at, stop):
                        wide = round_shift(np.int64(x[s, t, first + i]), e)
                        q[s, t, head, i] = saturate(wide, -127, 127)


@kernel
def discretize(rows, start, params, softplus, exp2, dt, dt_shift, decay):
    """dt and exp(dt·A) from the last columns of ``rows``; the count of overflows."""
    bias, A, A_shift, low, high = params
    base, delta, shifts, bits = softplus
    base2, delta2, bits2, top, one = exp2
    batch, seqlen, nheads = dt.shape
    lost = 0
    for s in range(batch):
        for t in range(seqlen):
            for i in range(nheads):
                biased = np.int64(rows[s, t, start + i]) + bias[i]
                kept = saturate(biased, -32768, 32767)
                lost += kept != biased
                offset = saturate(kept, low, high) + 32768
                n, fraction = offset >> bits, offset & ((1 << bits) - 1)
                mantissa = interpolate(base[n], delta[n], fraction, bits)
                shift = saturate(shifts[n] + A_shift[i] - 24, -30, 62)
                power = min(round_shift(mantissa * A[i], shift), top)
                dt[s, t, i], dt_shift[s, t, i] = mantissa, shifts[n]
                n, fraction = (power & one) >> bits2, power & ((1 << bits2) - 1)
                value = interpolate(base2[n], delta2[n], fraction, bits2)
                decay[s, t, i] = saturate(round_shift(value, power >> 24), 0, one)
    return lost


@kernel
def front(rows, state, layout, conv, conv_table, dt, softplus, exp2, out, x, B, C, steps):
    """All between in_proj and the state: convolution, blocks of x, B and C, dt and decay."""
    start, headdim, d_state, x_block, block = layout
    after, lost_in, lost_out = convolve(rows, start, state, conv, conv_table, out)
    middle = x[0].shape[2] * headdim
    edge = middle + B[0].shape[2] * d_state
    pow2_blocks(out, 0, headdim, x_block, x[0], x[1])
    pow2_blocks(out, middle, d_state, block, B[0], B[1])
    pow2_blocks(out, edge, d_state, block, C[0], C[1])
    lost = discretize(rows, start + out.shape[2], dt, softplus, exp2, steps[0], steps[1], steps[2])
    return after, lost_in, lost_out, lost


@kernel
def scan(x, x_exp, B, B_exp, C, C_exp, dt, dt_shift, decay, h, h_exp, position, numbers, D, y):
    """The recurrence over a piece of each sequence; updates h and h_exp, fills y.

    Where a stored element has 8 bits and neither term is near the top of the frame, a block runs
    in 32-bit lanes: decay·h is below 127·2^24 + 2^23, dt·x·B plus its half below 2^16·127² + 2^30,
    their shifted sum below 2^30, and a dither below 2^23 is added to it. Half up is a dither of
    128 / 256, not centred.
    """
    batch, seqlen, nheads = dt.shape
    headdim, d_state = h.shape[2:]
    frame_shift, y_shift, D_shift, bits, block, dithered = numbers
    per_group, x_block = nheads // B.shape[2], x.shape[3] // x_exp.shape[3]
    high = (1 << (bits - 1)) - 1
    v = np.empty(block, dtype=np.int64)
    w = np.empty(LANES, dtype=np.int32)
    ramp = np.zeros(LANES, dtype=np.int32)
    if dithered:
        for i in range(LANES):
            ramp[i] = dither(i, 0)
    lost_h = lost_y = 0
    for s in range(batch):
        for head in range(nheads):
            g = head // per_group
            for t in range(seqlen):
                a, token = decay[s, t, head], position[s] + t
                for p in range(headdim):
                    value = np.int64(x[s, t, head, p])
                    exp = np.int64(x_exp[s, t, head, p // x_block])
                    dtx = dt[s, t, head] * value
                    row_shift = frame_shift + dt_shift[s, t, head] - exp
                    total = 0
                    for n in range(d_state // block):
                        shift = saturate(row_shift - B_exp[s, t, g, n], -31, 62)
                        k = np.int64(h_exp[s, head, p, n])
                        at = n * block
                        first = dither(p * d_state + at, token) if dithered else 128
                        if bits == 8 and block == LANES and k <= 22 and shift >= 1:
                            a_shift, p_shift = 24 - k, min(shift, 31)
                            a32, a_by, a_half = i32(a), i32(a_shift), i32((1 << a_shift) >> 1)
                            p32, p_by, p_half = i32(dtx), i32(p_shift), i32((1 << p_shift) >> 1)
                            largest = i32(0)
                            for i in range(LANES):
                                old = mul32(a32, i32(h[s, head, p, at + i]))
                                new = mul32(p32, i32(B[s, t, g, at + i]))
                                kept = add32(
                                    sar32(add32(old, a_half), a_by), sar32(add32(new, p_half), p_by)
                                )
                                largest = max32(largest, max32(kept, mul32(kept, i32(-1))))
                                w[i] = kept
                            e = max(bit_length(np.int64(largest)) - 7, 0)
                            e32, first32, dot32 = i32(e), i32(first), i32(0)
                            centre = i32((1 << e) >> 9) if dithered else i32(0)
                            for i in range(LANES):
                                d = and32(add32(ramp[i], first32), i32(255))
                                d = add32(sar32(shl32(d, e32), i32(8)), centre)
                                q = sar32(add32(w[i], d), e32)
                                q = max32(min32(q, i32(127)), i32(-127))
                                h[s, head, p, at + i] = q
                                dot32 = add32(dot32, mul32(q, i32(C[s, t, g, at + i])))
                            dot = np.int64(dot32)
                        else:
                            magnitude = 0
                            for i in range(block):
                                product = dtx * np.int64(B[s, t, g, at + i])
                                wide = merge(a, np.int64(h[s, head, p, at + i]), k, product, shift)
                                held = saturate(wide, -FRAME, FRAME)
                                lost_h += held != wide
                                magnitude = max(magnitude, abs(held))
                                v[i] = held
                            e = max(bit_length(magnitude) - (bits - 1), 0)
                            dot = np.int64(0)
                            for i in range(block):
                                if dithered:
                                    d = dither(p * d_state + at + i, token)
                                    stored = round_dithered(v[i], e, d)
                                else:
                                    stored = round_shift(v[i], e)
                                stored = saturate(stored, -high, high)
                                h[s, head, p, at + i] = stored
                                dot += stored * np.int64(C[s, t, g, at + i])
                        h_exp[s, head, p, n] = e
                        total += dot << (e + C_exp[s, t, g, n])
                    wide = round_shift(total, y_shift)
                    read = saturate(wide, -INT24 - 1, INT24)
                    skip = round_shift(D[head] * value, saturate(D_shift - exp, -31, 62))
                    kept_y = saturate(read + skip, -INT24 - 1, INT24)
                    lost_y += (read != wide) + (kept_y != read + skip)
                    y[s, t, head, p] = kept_y
    return lost_h, lost_y


@kernel
def gate(y, z, silu_shift, shift, weight, weight_shift, low, high, table):
    """y·silu(z), the same times the norm weight, and overflows of both."""
    g = np.empty(y.shape, dtype=np.int32)
    weighted = np.empty(y.shape, dtype=np.int32)
    lost = 0
    for v in range(y.shape[0]):
        for i in range(y.shape[1]):
            gated = np.int64(y[v, i]) * silu(np.int64(z[v, i]), silu_shift, table)
            product = round_shift(gated, shift)
            kept = saturate(product, low, high)
            scaled = round_shift(kept * weight[i], weight_shift)
            value = saturate(scaled, low, high)
            lost += (kept != product) + (value != scaled)
            g[v, i], weighted[v, i] = kept, value
    return g, weighted, lost


@kernel
def hadamard(x, groups, padded, core, power, shift, low, high):
    """Butterflies over runs of ``power``, then ``core`` over the runs; padded by norm group."""
    vectors, channels = x.shape
    size = channels // groups
    order, count = power * len(core), len(core)
    out = np.empty((vectors, groups * padded), dtype=np.int32)
    line = np.empty(padded, dtype=np.int64)
    column = np.empty(count, dtype=np.int64)
    lost = 0
    for v in range(vectors):
        for g in range(groups):
            for i in range(size):
                line[i] = x[v, g * size + i]
            line[size:] = 0
            half = 1
            while half < power:
                for start in range(0, padded, 2 * half):
                    for i in range(start, start + half):
                        first, second = line[i], line[i + half]
                        line[i], line[i + half] = first + second, first - second
                half *= 2
            if count > 1:
                for start in range(0, padded, order):
                    for i in range(start, start + power):
                        for k in range(count):
                            column[k] = line[i + k * power]
                        for r in range(count):
                            mixed = 0
                            for k in range(count):
                                mixed += core[r, k] * column[k]
                            line[i + r * power] = mixed
            for i in range(padded):
                wide = round_shift(line[i], shift)
                value = saturate(wide, low, high)
                lost += value != wide
                out[v, g * padded + i] = value
    return out, lost
