"""Tables with linear interpolation: the hardware of ``numerics.tables``."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Mux, unsigned
from amaranth.lib import memory

from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import round_shift, shift_latency
from lightmamba.numerics.tables import Exp2

__all__ = ["EXP2", "exp2", "interpolate", "lookup", "reciprocal", "reciprocal_latency", "sigmoid"]

LATENCY = 4  # of an interpolation
EXP2 = 1 + LATENCY + shift_latency(0, 31)  # of a power of two


def lookup(pipe: Pipe, index: Timed, words: list[int], bits: int) -> Timed:
    """Word of a constant table, ``bits`` wide and unsigned. One cycle."""
    table = memory.Memory(shape=bits, depth=len(words), init=words)
    pipe.m.submodules += table
    port = table.read_port()
    pipe.m.d.comb += port.addr.eq(index.value)
    return Timed(port.data, index.stage + 1)


def interpolate(pipe: Pipe, nodes: Any, offset: Timed, extra: list[int] | None = None) -> Any:
    """Value at ``offset`` (unsigned) above a table's first node. Four cycles.

    Parameters
    ----------
    pipe
        Where it is built.
    nodes
        ``nodes`` of one of ``numerics.tables``: base, delta, bits of the fraction.
    offset
        Index of the segment, then the fraction within it.
    extra
        Another number per segment, up to 8 bits; it is returned with the value.

    Source: ``numerics.tables.interpolate``.
    """
    base, delta = (np.asarray(x, dtype=np.int64) for x in (nodes.base, nodes.delta))
    base_bits = int(base.max()).bit_length()
    delta_bits = int(np.abs(delta).max()).bit_length() + 1
    more = extra or [0] * len(base)
    words = [
        int(b) | (int(d) & ((1 << delta_bits) - 1)) << base_bits | e << (base_bits + delta_bits)
        for b, d, e in zip(base, delta, more, strict=True)
    ]
    segment = pipe.comb(lambda o: o[nodes.bits :], offset)
    fraction = pipe.comb(lambda o: o[: nodes.bits], offset)
    word = lookup(pipe, segment, words, base_bits + delta_bits + 8)
    # The memory's output is registered once more, as block RAM likes it.
    word = pipe.step(lambda w: w, word)
    slope = pipe.comb(lambda w: w[base_bits : base_bits + delta_bits].as_signed(), word)
    product = pipe.step(lambda d, f: d * f, slope, fraction)
    half = (1 << nodes.bits) >> 1
    start = pipe.comb(lambda w: w[:base_bits], word)
    value = pipe.step(lambda p, b: b + ((p + half) >> nodes.bits), product, start)
    if extra is None:
        return value
    return value, pipe.delay(pipe.comb(lambda w: w[base_bits + delta_bits :], word), value.stage)


def sigmoid(pipe: Pipe, x: Timed, nodes: Any) -> Timed:
    """σ of a signed 16-bit Q5.11 value, 16 fractional bits, unsigned. Four cycles."""
    offset = pipe.comb(lambda v: Cat(v[:15], ~v[15]), x)
    return pipe.comb(lambda v: v[:16], interpolate(pipe, nodes, offset))


def exp2(pipe: Pipe, t: Timed, op: Exp2) -> Timed:
    """2^-t in units of 2^-24, in :data:`EXP2` cycles; 2^24 itself where t is 0, or next to it.

    ``t`` is unsigned, of more than 21 bits, 16 of them fractional. Source: ``numerics.tables.Exp2``
    before it saturates.
    """
    t = pipe.step(lambda b: Mux(b[21:].any(), op.top, b[:21] << 8), t, shape=unsigned(29))
    value = interpolate(pipe, op.nodes, pipe.comb(lambda t: t[:24], t))
    value = pipe.comb(lambda v: Cat(v[:25], 0).as_signed(), value)
    return round_shift(pipe, value, pipe.comb(lambda t: t[24:], t), high=31)


def reciprocal(pipe: Pipe, value: Timed, nodes: Any) -> tuple[Timed, Timed]:
    """Mantissa of 1/value, and the zeros before its highest one, which come first.

    ``value`` is unsigned, of n bits; its reciprocal is mantissa·2^(zeros - 15 - n). Takes
    :func:`reciprocal_latency` cycles. Source: ``numerics.tables.Reciprocal``.
    """
    width, found = len(value), list[Timed]()
    for place in reversed(range((width - 1).bit_length())):
        n = 1 << place
        zero = pipe.comb(lambda v, n=n: ~v[width - n :].any(), value)
        value = pipe.step(
            lambda v, z, n=n: Mux(z, Cat(Const(0, n), v[: width - n]), v), value, zero, shape=width
        )
        found.insert(0, pipe.delay(zero, value.stage))
    zeros = pipe.comb(lambda *bits: Cat(bits), *found)
    offset = pipe.comb(lambda v: v[width - 16 : width - 1], value)
    return pipe.comb(lambda v: v[:16], interpolate(pipe, nodes, offset)), zeros


def reciprocal_latency(bits: int) -> int:
    """Cycles of :func:`reciprocal`."""
    return (bits - 1).bit_length() + LATENCY
