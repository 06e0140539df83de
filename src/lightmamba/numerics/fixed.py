"""Real values to integers of a static exponent, and the exponent that fits them."""

import math

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.formats import IntFormat

__all__ = [
    "HEADROOM_16", "HEADROOM_LEAST", "HEADROOM_WIDE", "exponent_for", "square_exponent", "to_fixed",
]  # fmt: skip

HEADROOM_WIDE = 8.0  # of values that have bits to spare
HEADROOM_LEAST = 2.0  # of the residual, if other tokens than those looked at first are larger
HEADROOM_16 = 2.0  # of int16 values


def exponent_for(largest: float, bits: int, headroom: float = 1.0) -> int:
    """Smallest exponent, but none below -60, at which ``largest`` times ``headroom`` fits."""
    if largest <= 0:
        return -bits
    return max(-60, math.ceil(math.log2(largest * headroom / IntFormat(bits).max)))


def square_exponent(largest: float, bits: int, spare: int, eps: float) -> int:
    """The same for values that are squared ``spare`` bits narrower, with room for ``eps``.

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
