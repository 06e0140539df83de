"""From a float Mamba2 mixer and the ranges that calibration saw to its integers."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.floating import numpy64
from lightmamba.blocks.mamba2.floating import Mixer as FloatMixer
from lightmamba.blocks.mamba2.quantized import Exponents, Mixer
from lightmamba.numerics.fixed import (
    HEADROOM_16,
    HEADROOM_WIDE,
    exponent_for,
    square_exponent,
    to_fixed,
)
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.tables import Q5_11, tables

__all__ = ["lower"]

Seen = Mapping[str, NDArray[np.float64]]


def _exponents(mixer: FloatMixer, formats: Formats, seen: Seen) -> Exponents:
    c, splits = mixer.sizes, mixer.sizes.sections()
    edge, middle = c.d_inner, c.d_inner + c.ngroups * c.d_state
    conv = {"x": slice(edge), "B": slice(edge, middle), "C": slice(middle, None)}
    weight, gate = np.abs(numpy64(mixer.norm)), seen["gate"]
    order = formats.transform.size(c.group_dim)

    def fitting(name: str, bits: int, headroom: float, channels: slice = slice(None)) -> int:
        return exponent_for(float(seen[name][channels].max()), bits, headroom)

    return Exponents(
        **{k: fitting("rows", 16, HEADROOM_16, splits[k]) for k in "zxBC"},
        **{f"conv_{k}": fitting("conv", 16, HEADROOM_16, conv[k]) for k in "xBC"},
        state=fitting("state", 32, HEADROOM_WIDE),
        y=fitting("y", 24, HEADROOM_WIDE),
        D=exponent_for(float(mixer.D.detach().abs().max()), 16),
        gate=square_exponent(float(gate.max()), 24, 0, c.eps * c.group_dim),
        gate_weight=exponent_for(float(weight.max()), 16),
        weighted=exponent_for(float((gate * weight).max()), 24, HEADROOM_WIDE),
        hadamard_shift=max(0, math.ceil(math.log2(order)) - 8),
    )


def lower(mixer: FloatMixer, formats: Formats, seen: Seen) -> Mixer:
    """Everything of a layer but its two projections.

    Parameters
    ----------
    mixer
        As the passes of the recipe left it.
    formats
        Of the model.
    seen : {name: (channels,)}
        Largest magnitude of each value that ``mixer`` showed in calibration.
    """
    c, e = mixer.sizes, _exponents(mixer, formats, seen)
    rows = slice(c.sections()["x"].start, c.sections()["C"].stop)
    bc = c.ngroups * c.d_state
    row_exp = np.repeat([e.x, e.B, e.C], [c.d_inner, bc, bc])
    conv_exp = np.repeat([e.conv_x, e.conv_B, e.conv_C], [c.d_inner, bc, bc])
    in_exp = np.array([exponent_for(v, 8) for v in seen["rows"][rows]])
    in_shift = np.clip(in_exp - row_exp, 0, 15)
    taps = numpy64(mixer.conv1d.weight)[:, 0].T
    weight_exp = np.array([exponent_for(v, 8) for v in np.abs(taps).max(0)])
    unit = row_exp + in_shift + weight_exp
    bias = np.zeros(c.conv_dim)
    if mixer.conv1d.bias is not None:
        bias = numpy64(mixer.conv1d.bias)
    A = np.exp(numpy64(mixer.A_log)) * math.log2(math.e)
    A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
    low, high = tables()[1].limits(*c.dt_limit)
    return Mixer(
        sizes=c,
        exponents=e,
        conv_weight=to_fixed(taps, weight_exp, 8).astype(np.int8),
        conv_bias=to_fixed(bias, unit, 24).astype(np.int32),
        conv_in_shift=in_shift.astype(np.int8),
        conv_out_shift=np.clip(conv_exp - unit, -24, 40).astype(np.int8),
        dt_bias=to_fixed(numpy64(mixer.dt_bias), Q5_11, 16).astype(np.int16),
        A=to_fixed(A, -A_shift, 16).astype(np.int16),
        A_shift=A_shift.astype(np.int8),
        D=to_fixed(numpy64(mixer.D), e.D, 16).astype(np.int16),
        gate_weight=to_fixed(numpy64(mixer.norm), e.gate_weight, 16).astype(np.int16),
        eps_gate=max(1, round(c.eps * c.group_dim * 2.0 ** (-2 * e.gate))),
        dt_low=low,
        dt_high=high,
    )
