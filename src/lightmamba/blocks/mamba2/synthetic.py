"""Random integers of a Mamba2 mixer with healthy ranges: slow and fast decays, all sizes of dt."""

import math

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.quantized import Exponents, Mixer
from lightmamba.blocks.mamba2.sizes import Sizes
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.tables import Q5_11, tables

__all__ = ["output", "random_mixer"]

ROWS_EXP = -12  # int16: up to 8
CONV_EXP = -11  # int16: up to 16
STATE_EXP = -22
Y_EXP = GATE_EXP = -12  # int24: up to 2,048
UNIT_EXP = -13  # int16 D and norm weights: up to 4
MIXED = 8.0  # typical y·silu(z)


def _exponents(sizes: Sizes, formats: Formats) -> Exponents:
    order = formats.transform.size(sizes.group_dim)
    return Exponents(
        z=ROWS_EXP, x=ROWS_EXP, B=ROWS_EXP, C=ROWS_EXP,
        conv_x=CONV_EXP, conv_B=CONV_EXP, conv_C=CONV_EXP,
        state=STATE_EXP, y=Y_EXP, D=UNIT_EXP,
        gate=GATE_EXP, gate_weight=UNIT_EXP, weighted=GATE_EXP,
        hadamard_shift=max(0, math.ceil(math.log2(order)) - 8),
    )  # fmt: skip


def output(sizes: Sizes, formats: Formats) -> tuple[float, float]:
    """Gain of out_proj that adds little to the stream, and the deviation of its integer inputs."""
    order, e = formats.transform.size(sizes.group_dim), _exponents(sizes, formats)
    gain = 0.4 / math.sqrt(order * sizes.ngroups)
    return gain, MIXED * math.sqrt(order) * 2.0 ** -(GATE_EXP + e.hadamard_shift)


def random_mixer(rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
    """Everything of a layer but its projections."""
    c = sizes
    # A from 1/64 to 16 and dt from 0.001 to 0.3, both spread evenly over the octaves.
    A = np.exp2(rng.uniform(-6, 4, c.nheads)) * math.log2(math.e)
    A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
    dt = np.exp(rng.uniform(math.log(1e-3), math.log(0.3), c.nheads))
    # Inputs of the convolution have 8 bits for ±8 or ±16; taps 8 for ±1 to ±4.
    weight_exp = rng.integers(-7, -4, c.conv_dim)
    taps = rng.standard_normal((c.d_conv, c.conv_dim)) / math.sqrt(c.d_conv)
    in_shift = rng.integers(8, 10, c.conv_dim)
    unit = ROWS_EXP + in_shift + weight_exp
    bias = 0.2 * rng.standard_normal(c.conv_dim) * c.conv_bias
    low, high = tables()[1].limits(*c.dt_limit)

    def fixed(
        value: NDArray[np.float64], exponent: NDArray[np.int64] | int, bits: int
    ) -> NDArray[np.float64]:
        top = 1 << (bits - 1)
        return np.rint(value * 2.0 ** -np.asarray(exponent, float)).clip(-top, top - 1)

    return Mixer(
        sizes=sizes,
        exponents=_exponents(sizes, formats),
        conv_weight=fixed(taps, weight_exp, 8).astype(np.int8),
        conv_bias=fixed(bias, unit, 24).astype(np.int32),
        conv_in_shift=in_shift.astype(np.int8),
        conv_out_shift=(CONV_EXP - unit).astype(np.int8),
        dt_bias=fixed(np.log(np.expm1(dt)), Q5_11, 16).astype(np.int16),
        A=fixed(A, -A_shift, 16).astype(np.int16),
        A_shift=A_shift.astype(np.int8),
        D=fixed(1 + 0.3 * rng.standard_normal(c.nheads), UNIT_EXP, 16).astype(np.int16),
        gate_weight=fixed(1 + 0.3 * rng.standard_normal(c.d_inner), UNIT_EXP, 16).astype(np.int16),
        eps_gate=max(1, round(c.eps * c.group_dim * 2.0 ** (-2 * GATE_EXP))),
        dt_low=low,
        dt_high=high,
    )
