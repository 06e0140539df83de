"""Inputs scaled and shifted per channel before quantization, for the comparison recipes only.

SmoothQuant and RTN with unfused norms scale the residual by its norm weight; Outlier Suppression+
also subtracts z·rms, which is known where 1/rms is. The hardware supports none of this.
"""

import numpy as np

from lightmamba.model.qmodel import QuantizedLinear
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["ROOT_BITS", "rescale_input"]

INT32 = IntFormat(32)
ROOT_BITS = 15  # fractional bits of the root of the sum of squares


def rescale_input(linear: QuantizedLinear, x: Ints, rms: tuple[Ints, Ints]) -> tuple[Ints, int]:
    """Scaled and shifted (vectors, channels) in int32, and overflows."""
    wide = x
    if linear.input_scale is not None:
        wide = round_shift(wide * linear.input_scale, -linear.input_scale_exp)
    if linear.input_shift is not None:
        mantissa, j = rms
        root: Ints = (np.int64(1) << (23 + ROOT_BITS + j)) // mantissa  # (vectors, groups)
        spread: Ints = np.repeat(root, x.shape[1] // root.shape[1], axis=1)
        wide = wide - round_shift(spread * linear.input_shift, -linear.input_shift_exp)
    return INT32(wide), INT32.overflows(wide)
