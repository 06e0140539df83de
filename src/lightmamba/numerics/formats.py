"""Integer formats, packing of sub-byte words, scales of weight groups, real values as integers."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.primitives import Ints, saturate

__all__ = [
    "HEADROOM_16", "HEADROOM_LEAST", "HEADROOM_WIDE", "INT8", "INT16", "INT24", "INT32", "NIBBLES",
    "GroupScale", "IntFormat", "exponent_for", "halves", "pack", "square_exponent", "to_fixed",
    "unpack",
]  # fmt: skip

NIBBLES = 16 * 7 + 7  # largest value that two signed nibbles hold
HEADROOM_WIDE = 8.0  # of values that have bits to spare
HEADROOM_LEAST = 2.0  # of the residual, if other tokens than those looked at first are larger
HEADROOM_16 = 2.0  # of int16 values


@dataclass(frozen=True)
class IntFormat:
    """Two's-complement integer of ``bits`` bits; ``symmetric`` leaves the lowest value out."""

    bits: int
    symmetric: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 62:
            raise ValueError(f"bits must be in 2..62, not {self.bits}")

    @property
    def min(self) -> int:
        """Lowest value."""
        return -(1 << (self.bits - 1)) + self.symmetric

    @property
    def max(self) -> int:
        """Highest value."""
        return (1 << (self.bits - 1)) - 1

    def __call__(self, x: Ints) -> Ints:
        """Saturate ``x`` to the format."""
        return saturate(x, self.min, self.max)

    def overflows(self, x: NDArray[np.integer]) -> int:
        """Count the values of ``x`` that the format cannot hold."""
        return int(np.count_nonzero((x < self.min) | (x > self.max)))


INT8, INT16, INT24, INT32 = IntFormat(8), IntFormat(16), IntFormat(24), IntFormat(32)


def pack(q: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Pack (..., n) signed integers into (..., n * bits / 8) bytes, the first in the low bits.

    Raises
    ------
    ValueError
        If ``bits`` is neither 4 nor 8, a value does not fit, or n is odd at 4 bits.
    """
    form = IntFormat(bits)
    if form.overflows(q):
        raise ValueError(f"values {q.min()}..{q.max()} do not fit {bits} bits")
    if bits == 8:
        return q.astype(np.int8).view(np.uint8)
    if bits != 4 or q.shape[-1] % 2:
        raise ValueError(f"cannot pack {q.shape[-1]} values of {bits} bits")
    nibbles = q.astype(np.uint8) & np.uint8(15)
    return nibbles[..., 0::2] | (nibbles[..., 1::2] << np.uint8(4))


def unpack(words: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Invert :func:`pack`."""
    if bits == 8:
        return words.view(np.int8)
    out = np.empty((*words.shape[:-1], words.shape[-1] * 2), dtype=np.int8)
    signed = words.view(np.int8)
    out[..., 0::2] = (signed << 4) >> 4
    out[..., 1::2] = signed >> 4
    return out


def halves(q: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Split into signed nibbles: q = 16·upper + lower.

    Raises
    ------
    ValueError
        If a value is above 119.
    """
    if q.size and q.max() > NIBBLES:
        raise ValueError(f"{q.max()} is more than two signed nibbles hold, which is {NIBBLES}")
    lower = (q << 4) >> 4
    return ((q.astype(np.int16) - lower) >> 4).astype(np.int8), lower


@dataclass(frozen=True)
class GroupScale:
    """Scale of a weight group in one byte: (32 + m)·2^e above a base per tensor.

    The byte is ``m + 32 * e`` with m in 0..31 and e in 0..7; the base exponent is the tensor's.
    """

    mantissa_bits: int = 5
    exponent_bits: int = 3

    @property
    def one(self) -> int:
        """Mantissa of a power of two: 32."""
        return 1 << self.mantissa_bits

    def multiplier(self, code: NDArray[np.uint8]) -> Ints:
        """Integer (32 + m)·2^e of each code; at most 63 << 7, 13 bits."""
        wide = code.astype(np.int64)
        return (self.one + (wide & (self.one - 1))) << (wide >> self.mantissa_bits)

    def table(self) -> NDArray[np.float64]:
        """Every multiplier by code, as float, for searches."""
        return self.multiplier(np.arange(256, dtype=np.uint8)).astype(np.float64)

    def encode(self, scale: NDArray[np.float64], base: int) -> NDArray[np.uint8]:
        """Code of the nearest representable scale to each (positive) ``scale``."""
        levels, codes = np.unique(self.table(), return_index=True)
        middles = (levels[1:] + levels[:-1]) / 2
        index = np.searchsorted(middles, scale * float(Fraction(2) ** -base))
        return codes[index].astype(np.uint8)

    def base(self, largest: float) -> int:
        """Base exponent that puts the largest scale of a tensor into the top octave."""
        if largest <= 0:
            return 0
        top = self.one << ((1 << self.exponent_bits) - 1)
        return int(np.ceil(np.log2(largest / (top * (2 - 1 / self.one)))))


def exponent_for(largest: float, bits: int, headroom: float = 1.0) -> int:
    """Smallest exponent, but none below -60, at which ``largest`` times ``headroom`` fits."""
    if largest <= 0:
        return -bits
    return max(-60, math.ceil(math.log2(largest * headroom / IntFormat(bits).max)))


def square_exponent(largest: float, bits: int, spare: int, eps: float) -> int:
    """Exponent of values that are squared ``spare`` bits narrower, with room for ``eps``.

    ``eps`` is the checkpoint's epsilon times the channels of a group: its integer stays below 2^58.
    """
    least = math.ceil((math.log2(eps) - 58) / 2) - spare
    return max(least, exponent_for(largest, bits, HEADROOM_WIDE))


def to_fixed(
    value: NDArray[np.float64], exponent: int | NDArray[np.int64], bits: int
) -> NDArray[np.int64]:
    """Round half up to integers of an exponent, saturated to ``bits``."""
    form = IntFormat(bits)
    wide = np.floor(value * 2.0 ** -np.asarray(exponent, dtype=np.float64) + 0.5)
    return wide.clip(form.min, form.max).astype(np.int64)
