"""Shift, saturate, bit length: the words in which every operation is written.

Each function is plain arithmetic that numpy broadcasts over arrays and that a compiler takes for
single numbers, so the reference and the compiled engine run the very same text. Values are 64-bit;
no argument may need more, which the tests prove from the shapes of the models.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Int", "Ints", "bit_length", "round_shift", "saturate"]

Ints = NDArray[np.int64]
Int = Ints | int  # where one number for all will do


def round_shift(x: Ints, shift: Int) -> Ints:
    """Divide ``x`` by ``2**shift`` and round half up; a negative shift multiplies.

    ``shift`` may be an array. It must lie in -62..62; ``x`` must be below 2^62 in magnitude, and so
    must ``x << -shift`` where the shift is negative.
    """
    right: Ints = np.maximum(shift, 0)
    left: Ints = right - shift
    return ((x << left) + ((1 << right) >> 1)) >> right


def saturate(x: Ints, low: Int, high: Int) -> Ints:
    """Clamp ``x`` to ``low..high``."""
    kept: Ints = np.minimum(np.maximum(x, low), high)
    return kept


def bit_length(x: Ints) -> Ints:
    """Count the bits that ``x`` in ``0..2**63 - 1`` needs; 0 needs none."""
    count = x * 0
    for step in (32, 16, 8, 4, 2, 1):
        part = ((x >> step) > 0) * step
        x = x >> part
        count = count + part
    return count + (x > 0) * 1
