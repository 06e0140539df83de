"""Tables with linear interpolation: the hardware of ``numerics.tables``."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat
from amaranth.lib import memory

from lightmamba.hardware.rtl.pipe import Pipe, Timed

__all__ = ["interpolate", "lookup", "sigmoid"]

LATENCY = 4  # of an interpolation


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
