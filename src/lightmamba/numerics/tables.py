"""Non-linear functions as tables of 16-bit entries (exp2: 25) with linear interpolation.

One input format each, for every layer of every model, so that the entire domain can be checked:
sigmoid and softplus take Q5.11 (16 bits, ±16), rsqrt and reciprocal a normalized 16-bit mantissa,
exp2 a 24-bit fraction. A table is three small integer arrays; :func:`interpolate` is all that
reads them.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.primitives import Ints, bit_length, round_shift, saturate

__all__ = ["Q5_11", "Exp2", "Reciprocal", "Rsqrt", "Sigmoid", "Softplus", "interpolate"]

Q5_11 = -11  # exponent of the tables' input format
_LOW = -(1 << 15)  # its lowest value


def interpolate(base: Ints, delta: Ints, fraction: Ints, bits: int) -> Ints:
    """Value between two nodes: ``base + delta * fraction / 2**bits``, rounded half up."""
    return base + ((delta * fraction + ((1 << bits) >> 1)) >> bits)


@dataclass(frozen=True)
class _Nodes:
    """Values of a function at equally spaced nodes, as a table by segment."""

    base: Ints
    delta: Ints
    bits: int  # of the fraction within a segment

    @staticmethod
    def of(values: NDArray[np.float64], top: int, bits: int) -> "_Nodes":
        nodes = np.minimum(np.floor(values + 0.5), top).astype(np.int64)
        return _Nodes(nodes[:-1], np.diff(nodes), bits)

    def __call__(self, offset: Ints) -> Ints:
        """Value at an offset from the first node."""
        segment, fraction = offset >> self.bits, offset & ((1 << self.bits) - 1)
        return interpolate(self.base[segment], self.delta[segment], fraction, self.bits)


@dataclass(frozen=True)
class Sigmoid:
    """σ(x): Q5.11 in, 16 fractional bits out (1 is 65535 / 65536).

    SiLU is x·σ(x) with x at its full width, so it keeps its relative precision near zero and does
    not saturate at 16. Worst error 2.4e-5 (tested over all inputs).
    """

    bits: int = 6

    @cached_property
    def nodes(self) -> _Nodes:
        x = np.arange(_LOW, -_LOW + 1, 1 << self.bits) * 2.0**Q5_11
        return _Nodes.of(65536 / (1 + np.exp(-x)), 65535, self.bits)

    def __call__(self, x: Ints) -> Ints:
        return self.nodes(x - _LOW)


@dataclass(frozen=True)
class Softplus:
    """ln(1 + e^x): Q5.11 in, a 16-bit mantissa and a right shift out (value = m·2^-shift).

    Each segment has a shift of its own, 11 to 39, so that the relative precision holds down to
    x = -16. Worst relative error 1.5e-4 (tested over all inputs).
    """

    bits: int = 6

    @cached_property
    def shifts(self) -> Ints:
        """Right shift of each segment: its largest mantissa just fits 16 bits."""
        return 16 - np.frexp(self._values[1:] * (1 + 2.0**-16))[1].astype(np.int64)

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        x = np.arange(_LOW, -_LOW + 1, 1 << self.bits) * 2.0**Q5_11
        values: NDArray[np.float64] = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)
        return values

    @cached_property
    def nodes(self) -> _Nodes:
        unit = 2.0 ** self.shifts.astype(np.float64)
        first, second = (np.floor(v * unit + 0.5) for v in (self._values[:-1], self._values[1:]))
        first, second = (np.minimum(v, 65535).astype(np.int64) for v in (first, second))
        return _Nodes(first, second - first, self.bits)

    def __call__(self, x: Ints) -> tuple[Ints, Ints]:
        offset = x - _LOW
        return self.nodes(offset), self.shifts[offset >> self.bits]

    def limits(self, low: float, high: float) -> tuple[int, int]:
        """Range of inputs that clamps dt to ``low..high``, since softplus rises throughout."""

        def inverse(dt: float) -> int:
            x = dt + np.log(-np.expm1(-dt)) if 0 < dt < np.inf else (np.inf if dt else -np.inf)
            return int(np.clip(np.rint(np.clip(x, -16, 16) * 2.0**-Q5_11), _LOW, -_LOW - 1))

        return inverse(low), inverse(high)


@dataclass(frozen=True)
class Exp2:
    """2^-t: t with 24 fractional bits in, 24 fractional bits out, at most 1 - 2^-24.

    The fraction indexes 1,024 segments by its top ten bits; all 2^24 fractions are checked: worst
    error 1.9 units of 2^-24. t is at most :attr:`top`, which gives 0.
    """

    bits: int = 14
    top: int = (32 << 24) - 1
    one: int = (1 << 24) - 1

    @cached_property
    def nodes(self) -> _Nodes:
        f = np.arange((1 << 24 - self.bits) + 1) / (1 << 24 - self.bits)
        return _Nodes.of(2.0 ** (24 - f), 1 << 24, self.bits)

    def __call__(self, t: Ints) -> Ints:
        return saturate(round_shift(self.nodes(t & self.one), t >> 24), 0, self.one)


@dataclass(frozen=True)
class Rsqrt:
    """1/sqrt(s) of a positive integer below 2^62: s in, (mantissa, j) out, value m·2^(-23-j).

    s is normalized to f·4^j with f in 2^14..2^16 - 1 (cut, not rounded, which costs 3.1e-5 of the
    root at most), and the table of f gives a 16-bit mantissa. Worst relative error of the table
    2.9e-5 (tested over all f).
    """

    bits: int = 6

    @cached_property
    def nodes(self) -> _Nodes:
        f = np.arange(1 << 14, (1 << 16) + 1, 1 << self.bits)
        return _Nodes.of(2.0**23 / np.sqrt(f), 65535, self.bits)

    @staticmethod
    def normalize(s: Ints) -> tuple[Ints, Ints]:
        """Split s into (f, j); j is in -7..23."""
        j = ((bit_length(s) + 1) >> 1) - 8
        return (s << np.maximum(-2 * j, 0)) >> np.maximum(2 * j, 0), j

    def __call__(self, s: Ints) -> tuple[Ints, Ints]:
        f, j = self.normalize(s)
        return self.nodes(f - (1 << 14)), j


@dataclass(frozen=True)
class Reciprocal:
    """1/s of a positive integer below 2^62: s in, (mantissa, j) out, value m·2^(-31-j).

    s is normalized to f·2^j with f in 2^15..2^16 - 1 (cut, not rounded, which costs 3.1e-5 at
    most), and the table of f gives a 16-bit mantissa. Worst relative error of the table 3.1e-5
    (tested over all f).
    """

    bits: int = 6

    @cached_property
    def nodes(self) -> _Nodes:
        f = np.arange(1 << 15, (1 << 16) + 1, 1 << self.bits)
        return _Nodes.of(2.0**31 / f, 65535, self.bits)

    @staticmethod
    def normalize(s: Ints) -> tuple[Ints, Ints]:
        """Split s into (f, j); j is in -15..46."""
        j = bit_length(s) - 16
        return (s << np.maximum(-j, 0)) >> np.maximum(j, 0), j

    def __call__(self, s: Ints) -> tuple[Ints, Ints]:
        f, j = self.normalize(s)
        return self.nodes(f - (1 << 15)), j


@lru_cache
def tables() -> tuple[Sigmoid, Softplus, Exp2, Rsqrt]:
    """One instance of each, so that a table is computed once."""
    return Sigmoid(), Softplus(), Exp2(), Rsqrt()
