"""The engine's operations as compiled loops over the same functions; bit-identical, fast.

Sums of a block of products run through float32 matrix products: they stay below 2^24, so they are
exact (proved in tests/numerics/test_bounds.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.jit import kernel, scalar
from lightmamba.engine.reference import CONV, EPILOGUE, GATE, NORM, PART, SILU, Scan
from lightmamba.numerics import blocks, conv, primitives, ssm, tables
from lightmamba.numerics.blocks import MAX_CODE, RECIPROCALS, BlockQuant, Pow2Block
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import SsmStep
from lightmamba.qmodel import QuantizedLayer, QuantizedLinear

__all__ = ["Compiled"]

bit_length = scalar(primitives.bit_length)
round_shift = scalar(primitives.round_shift)
saturate = scalar(primitives.saturate)
interpolate = scalar(tables.interpolate)
scale_index = scalar(blocks.scale_index)
divide_by_scale = scalar(blocks.divide_by_scale)
dither = scalar(blocks.dither)
gate_by_sigmoid = scalar(conv.gate_by_sigmoid)
merge = scalar(ssm.merge)
round_dithered = scalar(ssm.round_dithered)

RECIPROCAL_TABLE = np.array(RECIPROCALS)
SIGMOID = SILU.sigmoid.nodes
TILE = 64  # vectors whose block sums lie in memory at once


@kernel
def _silu(x, shift, base, delta, bits):  # type: ignore[no-untyped-def]
    offset = saturate(round_shift(x, shift), -32768, 32767) + 32768
    segment, fraction = offset >> bits, offset & ((1 << bits) - 1)
    return gate_by_sigmoid(x, interpolate(base[segment], delta[segment], fraction, bits))


@kernel
def _square_sum(x, shift, groups, low, high):  # type: ignore[no-untyped-def]
    vectors, channels = x.shape
    size = channels // groups
    out = np.zeros((vectors, groups), dtype=np.int64)
    for v in range(vectors):
        for g in range(groups):
            total = 0
            for i in range(g * size, (g + 1) * size):
                value = saturate(round_shift(x[v, i], shift), low, high)
                total += value * value
            out[v, g] = total
    return out


@kernel
def _quantize(x, block, base, thresholds, low, high, reciprocals):  # type: ignore[no-untyped-def]
    vectors, channels = x.shape
    offset, a, b, c, d = thresholds
    q = np.empty((vectors, channels), dtype=np.int8)
    codes = np.empty((vectors, channels // block), dtype=np.uint8)
    clipped = clamped = 0
    for v in range(vectors):
        for n in range(channels // block):
            magnitude = 0
            for i in range(n * block, (n + 1) * block):
                magnitude = max(magnitude, abs(x[v, i]))
            code = 0
            if magnitude > 0:
                index = scale_index(magnitude, offset, a, b, c, d) - 4 * base
                code = saturate(index, 0, MAX_CODE)
                clamped += code != index
            codes[v, n] = code
            reciprocal, shift = reciprocals[code & 3], (code >> 2) + base
            for i in range(n * block, (n + 1) * block):
                wide = divide_by_scale(x[v, i], reciprocal, shift)
                value = saturate(wide, low, high)
                clipped += value != wide
                q[v, i] = value
    return q, codes, clipped, clamped


@kernel
def _combine(sums, act, scale, acc_shift, mantissa, j, row_shift, forms, out):  # type: ignore[no-untyped-def]
    blocks, vectors, rows = sums.shape
    groups, parts = len(scale), mantissa.shape[1]
    per_group, per_part = blocks // groups, groups // parts
    wide_low, wide_high, low, high = forms
    lost = 0
    acc = np.empty(rows, dtype=np.int64)
    for v in range(vectors):
        for part in range(parts):
            acc[:] = 0
            for g in range(part * per_part, (part + 1) * per_part):
                for r in range(rows):
                    total = 0
                    for b in range(g * per_group, (g + 1) * per_group):
                        total += np.int64(sums[b, v, r]) * act[v, b]
                    acc[r] += total * scale[g, r]
            for r in range(rows):
                rounded = round_shift(acc[r], acc_shift)
                wide = saturate(rounded, wide_low, wide_high)
                shift = saturate(j[v, part] + row_shift[r], 0, 62)
                scaled = round_shift(wide * mantissa[v, part], shift)
                value = saturate(scaled, low, high)
                lost += (wide != rounded) + (value != scaled)
                out[v, r] += value
    return lost


@kernel
def _conv(x, state, in_shift, weight, bias, out_shift, silu_shift, base, delta, bits):  # type: ignore[no-untyped-def]
    batch, seqlen, channels = x.shape
    taps = len(weight)
    window = np.empty((taps - 1 + seqlen, channels), dtype=np.int8)
    out = np.empty((batch, seqlen, channels), dtype=np.int64)
    after = np.empty_like(state)
    lost_in = lost_out = 0
    for s in range(batch):
        window[: taps - 1] = state[s]
        for t in range(seqlen):
            for c in range(channels):
                shifted = round_shift(x[s, t, c], in_shift[c])
                value = saturate(shifted, -128, 127)
                lost_in += value != shifted
                window[taps - 1 + t, c] = value
        for t in range(seqlen):
            for c in range(channels):
                acc = np.int64(bias[c])
                for k in range(taps):
                    acc += np.int64(window[t + k, c]) * np.int64(weight[k, c])
                wide = round_shift(acc, np.int64(out_shift[c]))
                value = saturate(wide, -32768, 32767)
                lost_out += value != wide
                out[s, t, c] = _silu(value, silu_shift[c], base, delta, bits)
        after[s] = window[seqlen:]
    return out, after, lost_in, lost_out


@kernel
def _pow2(x, block, bits, high):  # type: ignore[no-untyped-def]
    vectors, channels = x.shape
    q = np.empty((vectors, channels), dtype=np.int64)
    exponents = np.empty((vectors, channels // block), dtype=np.int64)
    for v in range(vectors):
        for n in range(channels // block):
            magnitude = 0
            for i in range(n * block, (n + 1) * block):
                magnitude = max(magnitude, abs(x[v, i]))
            e = max(bit_length(magnitude) - (bits - 1), 0)
            exponents[v, n] = e
            for i in range(n * block, (n + 1) * block):
                q[v, i] = saturate(round_shift(x[v, i], e), -high, high)
    return q, exponents


@kernel
def _scan(  # type: ignore[no-untyped-def]
    dt, dt_shift, decay, x, x_exp, B, B_exp, C, C_exp, h, h_exp, position, numbers, D, y
):
    batch, seqlen, nheads = dt.shape
    headdim, d_state = h.shape[2:]
    frame_shift, y_shift, D_shift, bits, block, dithered = numbers
    per_group, x_block = nheads // B.shape[2], x.shape[3] // x_exp.shape[3]
    high, frame, y_high = (1 << (bits - 1)) - 1, (1 << 31) - 1, (1 << 23) - 1
    v = np.empty(block, dtype=np.int64)
    lost_h = lost_y = 0
    for s in range(batch):
        for head in range(nheads):
            g = head // per_group
            for p in range(headdim):
                for t in range(seqlen):
                    a = decay[s, t, head]
                    exp = x_exp[s, t, head, p // x_block]
                    dtx = dt[s, t, head] * x[s, t, head, p]
                    row_shift = frame_shift + dt_shift[s, t, head] - exp
                    token = position[s] + t
                    total = 0
                    for n in range(d_state // block):
                        shift = saturate(row_shift - B_exp[s, t, g, n], -31, 62)
                        k = np.int64(h_exp[s, head, p, n])
                        at = n * block
                        magnitude = 0
                        for i in range(block):
                            product = dtx * B[s, t, g, at + i]
                            wide = merge(a, np.int64(h[s, head, p, at + i]), k, product, shift)
                            kept = saturate(wide, -frame, frame)
                            lost_h += kept != wide
                            magnitude = max(magnitude, abs(kept))
                            v[i] = kept
                        e = max(bit_length(magnitude) - (bits - 1), 0)
                        h_exp[s, head, p, n] = e
                        dot = 0
                        for i in range(block):
                            if dithered:
                                d = dither(p * d_state + at + i, token)
                                q = round_dithered(v[i], e, d)
                            else:
                                q = round_shift(v[i], e)
                            q = saturate(q, -high, high)
                            h[s, head, p, at + i] = q
                            dot += q * C[s, t, g, at + i]
                        total += dot << (e + C_exp[s, t, g, n])
                    wide = round_shift(total, y_shift)
                    read = saturate(wide, -y_high - 1, y_high)
                    skip = round_shift(D[head] * x[s, t, head, p], saturate(D_shift - exp, -31, 62))
                    out = saturate(read + skip, -y_high - 1, y_high)
                    lost_y += (read != wide) + (out != read + skip)
                    y[s, t, head, p] = out
    return lost_h, lost_y


@kernel
def _gate(y, z, silu_shift, shift, weight, weight_shift, low, high, base, delta, bits):  # type: ignore[no-untyped-def]
    g, weighted = np.empty_like(y), np.empty_like(y)
    lost = 0
    for v in range(y.shape[0]):
        for i in range(y.shape[1]):
            product = round_shift(y[v, i] * _silu(z[v, i], silu_shift, base, delta, bits), shift)
            kept = saturate(product, low, high)
            scaled = round_shift(kept * weight[i], weight_shift)
            value = saturate(scaled, low, high)
            lost += (kept != product) + (value != scaled)
            g[v, i], weighted[v, i] = kept, value
    return g, weighted, lost


class Compiled:
    """The operations of :class:`~lightmamba.engine.reference.Reference`, compiled."""

    def __init__(self) -> None:
        self._weights: dict[int, tuple[QuantizedLinear, NDArray[np.float32], Ints]] = {}

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        sums = _square_sum(x, shift, groups, NORM.square.min, NORM.square.max)
        return NORM.rsqrt(sums + eps)

    def quantize(self, act: BlockQuant, x: Ints, base: int) -> Any:
        offset, thresholds = act.thresholds
        return _quantize(
            x, act.block, base, (offset, *thresholds), act.qmin, act.qmax, RECIPROCAL_TABLE
        )

    def _prepared(self, op: Projection, linear: QuantizedLinear) -> tuple[NDArray[Any], Ints]:
        kept = self._weights.get(id(linear))
        if kept is None:
            rows, channels = linear.q.shape
            blocks = linear.q.reshape(rows, channels // op.act.block, op.act.block)
            weights = np.ascontiguousarray(blocks.transpose(1, 2, 0).astype(np.float32))
            scale = np.ascontiguousarray(op.scale.multiplier(linear.code).T)
            kept = self._weights[id(linear)] = linear, weights, scale
        return kept[1:]

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Ints,
        out: IntFormat,
    ) -> tuple[Ints, int]:
        weights, scale = self._prepared(op, linear)
        mantissa, j = rms
        form = out if mantissa.shape[1] == 1 else PART
        forms = EPILOGUE.wide.min, EPILOGUE.wide.max, form.min, form.max
        rows, lost = np.zeros((len(q), len(linear.q)), dtype=np.int64), 0
        act = BlockQuant.multiplier(code)
        for start in range(0, len(q), TILE):
            tile = slice(start, start + TILE)
            blocks = q[tile].reshape(-1, len(weights), op.act.block)
            sums = blocks.transpose(1, 0, 2).astype(np.float32) @ weights
            lost += _combine(
                sums, act[tile], scale, linear.acc_shift, mantissa[tile], j[tile], row_shift,
                forms, rows[tile],
            )  # fmt: skip
        return rows, lost

    def conv(
        self, layer: QuantizedLayer, x: Ints, state: NDArray[np.int8], silu_shift: Ints
    ) -> tuple[Ints, NDArray[np.int8], int, int]:
        return _conv(  # type: ignore[no-any-return]
            np.ascontiguousarray(x), state, layer.conv_in_shift.astype(np.int64),
            layer.conv_weight, layer.conv_bias, layer.conv_out_shift, silu_shift,
            SIGMOID.base, SIGMOID.delta, SIGMOID.bits,
        )  # fmt: skip

    def blocks(self, op: Pow2Block, x: Ints) -> tuple[Ints, Ints]:
        flat = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
        q, e = _pow2(flat, op.block, op.bits, op.form.max)
        return q.reshape(x.shape), e.reshape(*x.shape[:-1], -1)

    def scan(
        self,
        op: SsmStep,
        scan: Scan,
        h: NDArray[np.int16],
        h_exp: NDArray[np.uint8],
        position: NDArray[np.int64],
        headdim: int,
        frame_shift: int,
        y_shift: int,
        D: Ints,
        D_shift: int,
    ) -> tuple[Ints, int, int]:
        y = np.empty((*scan.dt.shape, headdim), dtype=np.int64)
        dithered = op.rounding == "dither"
        numbers = frame_shift, y_shift, D_shift, op.bits, op.block, dithered
        lost_h, lost_y = _scan(
            scan.dt, scan.dt_shift, scan.decay, scan.x, scan.x_exp, scan.B, scan.B_exp, scan.C,
            scan.C_exp, h, h_exp, position, numbers, D, y,
        )  # fmt: skip
        return y, lost_h, lost_y

    def gate(
        self, y: Ints, z: Ints, silu_shift: int, shift: int, weight: Ints, weight_shift: int
    ) -> tuple[Ints, Ints, int]:
        return _gate(  # type: ignore[no-any-return]
            y, np.ascontiguousarray(z), silu_shift, shift, weight, weight_shift,
            GATE.out.min, GATE.out.max, SIGMOID.base, SIGMOID.delta, SIGMOID.bits,
        )  # fmt: skip
