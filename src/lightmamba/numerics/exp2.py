"""Powers of two as integer weights: what softmax is made of."""

from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor

import numpy as np

from lightmamba.numerics.primitives import Ints

__all__ = ["CONTEXT", "LN2", "WEIGHT_BITS", "X_BITS", "X_END", "exp2_weight", "round_half_up"]

WEIGHT_BITS = 31  # a weight is 2**31 for the most probable id
X_BITS = 16  # fractional bits of the exponent that exp2_weight takes
X_END = 32 << X_BITS  # from here on a weight is 0
CONTEXT = Context(prec=40)  # decimal digits; ln and exp are correctly rounded, so the same anywhere
LN2 = Decimal(2).ln(CONTEXT)


def exp2_weight(x: Ints) -> Ints:
    """Compute 2**31 * 2**-x for x >= 0 with 16 fractional bits.

    The two bytes of the fraction index two tables of 256 integers, whose product has 62 bits; it is
    rounded once, half up. Worst error 1.4 units for any x, 1.1e-9 of the value for x < 1 (tested
    over all inputs); from x = 32 on the result is 0.

    Parameters
    ----------
    x : NDArray[np.int64], any shape
        Exponent in units of 2**-16.

    Returns
    -------
    NDArray[np.int64], the shape of ``x``
        0 to 2**31.
    """
    shift = np.minimum(x >> X_BITS, 31)
    shift += WEIGHT_BITS
    weight: Ints = _exp2_products()[x & 0xFFFF]  # below 2**62 + 2**61 with the half that rounds it
    weight += np.left_shift(1, shift - 1)
    weight >>= shift
    weight *= x < X_END
    return weight


@lru_cache(maxsize=1)
def _exp2_products() -> Ints:
    """Products of the two tables' entries for all 16 bits of a fraction."""
    high, low = _exp2_tables()
    return np.multiply.outer(high, low).ravel()


@lru_cache(maxsize=1)
def _exp2_tables() -> tuple[Ints, Ints]:
    """2**31 * 2**-(i / 256) and 2**31 * 2**-(i / 65536), i in 0..255, rounded half up."""

    def entry(exponent: Fraction) -> int:
        steps = CONTEXT.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
        power = CONTEXT.exp(CONTEXT.multiply(LN2, steps))
        return round_half_up(Fraction(power) * (1 << WEIGHT_BITS))

    high = [entry(Fraction(i, 1 << 8)) for i in range(256)]
    low = [entry(Fraction(i, 1 << X_BITS)) for i in range(256)]
    return np.array(high, dtype=np.int64), np.array(low, dtype=np.int64)


def round_half_up(value: Fraction) -> int:
    """The nearest integer, the larger of two."""
    return floor(value + Fraction(1, 2))
