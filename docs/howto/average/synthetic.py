"""Random integers of an average with healthy ranges."""

import math

import numpy as np

from lightmamba.numerics.model_formats import Formats

from .quantized import Exponents, Mixer
from .sizes import Sizes

__all__ = ["output", "random_mixer"]

V_EXP = -12  # int16: up to 8
SUM = 6.0  # typical sum of some tens of values


def _exponents(sizes: Sizes, formats: Formats) -> Exponents:
    order = formats.transform.size(sizes.channels)
    return Exponents(V_EXP, 2, max(0, math.ceil(math.log2(order)) - 8))


def output(sizes: Sizes, formats: Formats) -> tuple[float, float]:
    """Gain of out_proj that adds little to the stream, and the deviation of its integer inputs."""
    order, e = formats.transform.size(sizes.channels), _exponents(sizes, formats)
    gain = 0.4 / (SUM * math.sqrt(order * sizes.channels))
    return gain, SUM * math.sqrt(order) * 2.0 ** -(e.v + e.shift + e.hadamard_shift)


def random_mixer(rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
    """Everything of a layer but its projections; nothing of it is random."""
    return Mixer(sizes, _exponents(sizes, formats))
