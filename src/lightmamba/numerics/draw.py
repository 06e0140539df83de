"""Parts of a draw: softmax weights as integer powers of two, and random integers by a counter.

Both are the same on every machine; random integers are named by a seed and a counter, in any order.
"""

from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor

import numpy as np

from lightmamba.numerics.primitives import Ints

__all__ = ["CONTEXT", "LN2", "WEIGHT_BITS", "X_BITS", "X_END", "exp2_weight", "philox"]
__all__ += ["round_half_up", "uniform_below"]

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


def uniform_below(bound: int, *, seed: int, row: int, draw: int) -> int:
    """Draw an integer from 0 to ``bound - 1``, each exactly as likely.

    The high half of ``word * bound``, where word is the first of :func:`philox` with key (seed, 0)
    and counter (draw, row, attempt, 0); words whose low half is below ``2**64 % bound`` are
    rejected for the next attempt (Lemire: Fast random integer generation in an interval, 2019). So
    the draw falls at about the same share of nearly equal weights. ``bound`` is 1 to 2**64.
    """
    attempt = 0
    while True:
        product = philox((draw, row, attempt, 0), (seed, 0))[0] * bound
        if product % (1 << 64) >= (1 << 64) % bound:
            return product >> 64
        attempt += 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Compute one block of Philox4x64-10, four random words of 64 bits.

    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    mask = (1 << 64) - 1
    (a, b, c, d), (key0, key1) = counter, key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b = (second >> 64) ^ b ^ key0, second & mask
        c, d = (first >> 64) ^ d ^ key1, first & mask
        key0, key1 = (key0 + 0x9E3779B97F4A7C15) & mask, (key1 + 0xBB67AE8584CAA73B) & mask
    return a, b, c, d
