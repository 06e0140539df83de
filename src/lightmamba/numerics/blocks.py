"""Dynamic block quantization: a scale found from the largest magnitude of each block."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.formats import NIBBLES, IntFormat
from lightmamba.numerics.primitives import Ints, bit_length, round_shift, saturate

__all__ = [
    "HALF", "MAX_CODE", "RECIPROCALS", "BlockQuant", "Pow2Block", "block_magnitude", "dither",
    "divide_by_scale", "halved", "scale_index",
]  # fmt: skip

MAX_CODE = 63  # 16 exponents of 4 mantissas
HALF = 4  # bits of the lower half of a value of 8
RECIPROCALS = tuple(round(Fraction(4 << 16, 4 + m)) for m in range(4))


def block_magnitude(x: NDArray[np.integer], block: int) -> Ints:
    """Largest magnitude of each run of ``block`` along the last axis, (..., n / block)."""
    blocks = x.reshape(*x.shape[:-1], -1, block)
    magnitude: Ints = np.abs(blocks, dtype=np.int64).max(-1)  # 64 bits: |-2^31| does not wrap
    return magnitude


def divide_by_scale(x: Ints, reciprocal: Ints, shift: Ints) -> Ints:
    """Divide by (4 + m)/4·2^shift through the reciprocal of the mantissa, without a division."""
    return round_shift(x * reciprocal, shift + 16)


def scale_index(magnitude: Ints, offset: int, a: int, b: int, c: int, d: int) -> Ints:
    """Scale index 4 * exponent + m of absmax (up to 2^31); see :attr:`BlockQuant.thresholds`."""
    k = bit_length(magnitude)
    n = magnitude << (32 - k)
    reached: Ints = (n >= a) * 1 + (n >= b) * 1 + (n >= c) * 1 + (n >= d) * 1
    return 4 * k + offset + reached


@dataclass(frozen=True)
class BlockQuant:
    """Quantize blocks to ``bits`` with a scale (4 + m)/4·2^e, m in 0..3.

    The (m, e) nearest to absmax / (qmax + 1/2) is taken: the range with its rounding, which at 4
    bits is 0.4 dB better on normal values than absmax / qmax. The largest value of a block may
    saturate; that clipping is intended, and counted apart from overflows. e has 4 bits above a base
    per tensor; a block that would need more or less is clamped and counted. A scale travels as
    ``code = m + 4 * e``, 6 bits.

    Parameters
    ----------
    bits : int
        4 or 8.
    block : int
        Values that share a scale.
    qmax : int
        Largest value; 119 where an 8-bit value is split into two signed nibbles.
    via : int
        8 where values of 4 bits are the upper halves of such a value, which another projection
        takes whole: q = floor(q8 / 16 + 1/2), with a scale 16 times as large. 0: they are not.
    """

    bits: int
    block: int = 32
    qmax: int = 0  # 0: the largest that the bits hold
    via: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"activation bits must be 4 or 8, not {self.bits}")
        if self.block < 1:
            raise ValueError(f"block must be positive, not {self.block}")
        if self.qmax == 0:
            object.__setattr__(self, "qmax", IntFormat(self.bits).max)
        if not 1 <= self.qmax <= IntFormat(self.bits).max:
            raise ValueError(f"qmax {self.qmax} does not fit {self.bits} bits")
        if self.via and (self.via, self.bits) != (8, 4):
            raise ValueError(f"values of {self.bits} bits are no halves of {self.via}")

    @cached_property
    def whole(self) -> "BlockQuant":
        """Format of the values of which these are the upper halves; itself, if they are not."""
        return BlockQuant(self.via, self.block, NIBBLES) if self.via else self

    @property
    def reach(self) -> Fraction:
        """Magnitude that the largest value of a block is scaled to: qmax and half a step."""
        return Fraction(2 * self.qmax + 1, 2)

    @property
    def qmin(self) -> int:
        """Smallest value, one below -qmax where the bits hold it."""
        return IntFormat(self.bits).min

    @cached_property
    def thresholds(self) -> tuple[int, tuple[int, int, int, int]]:
        """(offset, four thresholds) of the scale search within an octave of absmax.

        With absmax normalized to n in 2^31..2^32 - 1 and k its bit length, the scale index
        ``4 * exponent + m`` is ``4 * k + offset`` plus the number of thresholds that n reaches.
        A threshold is the midpoint between two neighbouring scales, times the reach.
        """

        def middle(index: int) -> Fraction:
            m, e = index % 4, index // 4
            return self.reach * Fraction(2 * (4 + m) + 1, 8) * Fraction(2) ** e

        index = -128
        while middle(index) < 1:  # absmax 1 has k = 1
            index += 1
        a, b, c, d = (int(middle(index + i) * (1 << 31)) for i in range(4))
        return index - 4, (a, b, c, d)

    def index(self, magnitude: Ints) -> Ints:
        """Scale index 4 * exponent + m of each absmax, before clamping."""
        offset, thresholds = self.thresholds
        return scale_index(magnitude, offset, *thresholds)

    def __call__(self, x: Ints, base: int) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        """Quantize (..., n) int32 values with scale exponents from ``base`` on.

        Returns
        -------
        q, code
            (..., n) integers and (..., n / block) codes.
        clipped
            How many values saturated, as intended.
        clamped
            How many non-zero blocks wanted a scale outside the 16 exponents.
        """
        if self.via:
            found = self.whole(x, base - HALF)
            return halved(found[0]), found[1], found[2], found[3]
        magnitude = block_magnitude(x, self.block)
        index = self.index(magnitude) - 4 * base
        code = saturate(index, 0, MAX_CODE) * (magnitude > 0)
        reciprocal, shift = np.array(RECIPROCALS)[code & 3], (code >> 2) + base
        blocks = x.reshape(*x.shape[:-1], -1, self.block)
        wide = divide_by_scale(blocks, reciprocal[..., None], shift[..., None])
        q = saturate(wide, self.qmin, self.qmax)
        clamped = np.count_nonzero((magnitude > 0) & (code != index))
        return (
            q.reshape(x.shape).astype(np.int8),
            code.astype(np.uint8),
            int(np.count_nonzero(q != wide)),
            int(clamped),
        )

    def dequantize(
        self, q: NDArray[np.int8], code: NDArray[np.uint8], base: int
    ) -> NDArray[np.float64]:
        """Real values, in units of what was quantized, of (..., n) integers and their codes."""
        scale = self.multiplier(code).astype(np.float64) * 2.0 ** (base - 2)
        return q.astype(np.float64) * np.repeat(scale, self.block, axis=-1)

    @staticmethod
    def multiplier(code: NDArray[np.uint8]) -> Ints:
        """Integer (4 + m)·2^e of each code; at most 7 << 15, 18 bits."""
        wide = code.astype(np.int64)
        return (4 + (wide & 3)) << (wide >> 2)


def halved(q: NDArray[np.int8]) -> NDArray[np.int8]:
    """Upper halves of values up to :data:`~lightmamba.numerics.formats.NIBBLES`, rounded."""
    return ((q.astype(np.int16) + 8) >> HALF).astype(np.int8)


@dataclass(frozen=True)
class Pow2Block:
    """Quantize blocks to ``bits`` with a scale 2^e, the smallest that holds absmax.

    ``block`` values share a scale; a shorter last block is padded with zeros by the caller, which
    changes no scale.
    """

    bits: int = 8
    block: int = 32

    def exponent(self, magnitude: Ints) -> Ints:
        """Exponent e >= 0 with absmax < 2^(bits - 1 + e)."""
        return np.maximum(bit_length(magnitude) - (self.bits - 1), 0)

    @property
    def form(self) -> IntFormat:
        """Format of a quantized value: symmetric, since rounding up may reach 2^(bits - 1)."""
        return IntFormat(self.bits, symmetric=True)

    def __call__(self, x: Ints) -> tuple[Ints, Ints]:
        """Round half up to (..., n) integers and (..., n / block) exponents."""
        e = self.exponent(block_magnitude(x, self.block))
        blocks = x.reshape(*x.shape[:-1], -1, self.block)
        return self.form(round_shift(blocks, e[..., None])).reshape(x.shape), e


def dither(index: Ints, token: Ints) -> Ints:
    """Deterministic dither in 0..255 of a state element: ``index`` is p·d_state + n in its head.

    The one exception to rounding half up: a plainly rounded INT8 state sticks where it should
    decay (docs/decisions/0003).
    """
    return (159 * index + 193 * token) & 255
