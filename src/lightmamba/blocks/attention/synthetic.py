"""Random integers of an attention mixer with healthy ranges."""

import math

import numpy as np

from lightmamba.blocks.attention.quantized import Exponents, Mixer
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.numerics.model_formats import Formats

__all__ = ["output", "random_mixer"]

ROWS_EXP = -12  # int16: up to 8
MEAN_EXP = -19  # int24: up to 16
MEAN = 0.3  # typical mean of values


def _exponents(sizes: Sizes, formats: Formats) -> Exponents:
    order = formats.transform.size(sizes.out_dim)
    shift = max(0, math.ceil(math.log2(order)) - 8)
    return Exponents(q=ROWS_EXP, k=ROWS_EXP, v=ROWS_EXP, mean=MEAN_EXP, hadamard_shift=shift)


def output(sizes: Sizes, formats: Formats) -> tuple[float, float]:
    """Gain of out_proj that adds little to the stream, and the deviation of its integer inputs."""
    order, e = formats.transform.size(sizes.out_dim), _exponents(sizes, formats)
    gain = 0.4 / (MEAN * math.sqrt(order * sizes.out_dim))
    return gain, MEAN * math.sqrt(order) * 2.0 ** -(MEAN_EXP + e.hadamard_shift)


def random_mixer(rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
    """Everything of a layer but its projections; nothing of it is random."""
    return Mixer(sizes, _exponents(sizes, formats))
