"""From a float attention mixer and the ranges that calibration saw to its integers."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.attention.floating import Mixer as FloatMixer
from lightmamba.blocks.attention.quantized import Exponents, Mixer
from lightmamba.numerics.fixed import HEADROOM_16, HEADROOM_WIDE, exponent_for
from lightmamba.numerics.model_formats import Formats

__all__ = ["lower"]


def lower(mixer: FloatMixer, formats: Formats, seen: Mapping[str, NDArray[np.float64]]) -> Mixer:
    """Everything of a layer but its two projections; see the other kinds' ``lower``."""
    sizes = mixer.sizes
    rows = {
        name: exponent_for(float(seen["rows"][part].max()), 16, HEADROOM_16)
        for name, part in sizes.sections().items()
    }
    mean = exponent_for(float(seen["mean"].max()), 24, HEADROOM_WIDE)
    shift = max(0, math.ceil(math.log2(formats.transform.size(sizes.out_dim))) - 8)
    return Mixer(sizes, Exponents(**rows, mean=mean, hadamard_shift=shift))
