"""Random integers of an MLP with healthy ranges."""

import math

import numpy as np

from lightmamba.blocks.mlp.quantized import Exponents, Mixer
from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.numerics.model_formats import Formats

__all__ = ["output", "random_mixer"]

ROWS_EXP = -12  # int16: up to 8
HIDDEN_EXP = -12  # int24: up to 2,048
HIDDEN = 0.6  # typical hidden value


def _exponents(sizes: Sizes, formats: Formats) -> Exponents:
    order = formats.transform.size(sizes.d_hidden)
    shift = max(0, math.ceil(math.log2(order)) - 8)
    return Exponents(a=ROWS_EXP, b=ROWS_EXP, hidden=HIDDEN_EXP, hadamard_shift=shift)


def output(sizes: Sizes, formats: Formats) -> tuple[float, float]:
    """Gain of out_proj that adds little to the stream, and the deviation of its integer inputs."""
    order, e = formats.transform.size(sizes.d_hidden), _exponents(sizes, formats)
    gain = 0.4 / (HIDDEN * math.sqrt(order * sizes.d_hidden))
    return gain, HIDDEN * math.sqrt(order) * 2.0 ** -(HIDDEN_EXP + e.hadamard_shift)


def random_mixer(rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
    """Everything of a layer but its projections; nothing of it is random."""
    return Mixer(sizes, _exponents(sizes, formats))
