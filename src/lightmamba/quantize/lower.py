"""From a float layer and its ranges to the integers of a quantized layer."""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.config import Mamba2Config
from lightmamba.mamba2 import Mixer
from lightmamba.numerics.formats import GroupScale, IntFormat
from lightmamba.numerics.tables import Q5_11
from lightmamba.qmodel import Exponents, Formats, QuantizedLayer, QuantizedLinear, Table
from lightmamba.quantize.calibrate import LayerTrace

__all__ = ["exponent_for", "layer_exponents", "lower_embedding", "lower_layer", "pad_groups"]

ROWS = 4096  # of the embedding that are lowered together
HEADROOM_WIDE = 8.0  # of values that have bits to spare
HEADROOM_LEAST = 2.0  # of the residual, if other tokens than those looked at first are larger
HEADROOM_16 = 2.0  # of int16 values
N = TypeVar("N", bound=np.generic)


def numpy64(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Float64 copy of a tensor."""
    return tensor.detach().cpu().double().numpy()


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


def pad_groups(x: NDArray[N], groups: int, channels: int) -> NDArray[N]:
    """Zero-pad each of ``groups`` runs of the last axis to ``channels`` together."""
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    width = channels // groups - grouped.shape[-1]
    if width == 0:
        return x
    padded = np.pad(grouped, [(0, 0)] * (grouped.ndim - 1) + [(0, width)])
    return padded.reshape(*x.shape[:-1], channels)


def lower_embedding(
    read: Callable[[slice], torch.Tensor], count: int, formats: Formats, channels: int
) -> Table:
    """Embedding rows to int8 with a scale per group, round to nearest.

    Parameters
    ----------
    read
        Some of the rows, (rows, d_model).
    count : int
        All of them.
    formats : Formats
        With the group that shares a scale.
    channels : int
        What d_model is padded to.
    """
    scale_format, form = GroupScale(), IntFormat(8, symmetric=True)
    blocks = [slice(at, min(at + ROWS, count)) for at in range(0, count, ROWS)]
    top = max(float(read(rows).abs().max()) for rows in blocks)
    base = scale_format.base(top / form.max)
    q = np.empty((count, channels), np.int8)
    codes = np.empty((count, channels // formats.group), np.uint8)
    for rows in blocks:
        padded = pad_groups(numpy64(read(rows)), 1, channels)
        groups = padded.reshape(len(padded), -1, formats.group)
        code = scale_format.encode(np.maximum(np.abs(groups).max(-1) / form.max, 1e-300), base)
        scale = scale_format.multiplier(code)[..., None] * 2.0**base
        wide = np.floor(groups / scale + 0.5).clip(form.min, form.max)
        q[rows], codes[rows] = wide.reshape(len(groups), -1), code
    return Table(q, codes, base)


def layer_exponents(
    config: Mamba2Config, formats: Formats, mixer: Mixer, trace: LayerTrace
) -> Exponents:
    """Static exponents of a layer from the ranges seen in calibration."""
    splits, edge = config.splits(), config.d_inner
    middle = edge + config.ngroups * config.d_state
    conv = {"x": slice(edge), "B": slice(edge, middle), "C": slice(middle, None)}
    weight = numpy64(mixer.norm)
    gate = trace.ranges["gate"]
    size = formats.transform.size(config.group_dim)
    return Exponents(
        **{k: exponent_for(trace.largest("rows", splits[k]), 16, HEADROOM_16) for k in "zxBC"},
        **{
            f"conv_{k}": exponent_for(trace.largest("conv", conv[k]), 16, HEADROOM_16)
            for k in "xBC"
        },
        state=exponent_for(trace.largest("state"), 32, HEADROOM_WIDE),
        y=exponent_for(trace.largest("y"), 24, HEADROOM_WIDE),
        D=exponent_for(float(mixer.D.detach().abs().max()), 16),
        gate=square_exponent(float(gate.max()), 24, 0, config.eps * config.group_dim),
        gate_weight=exponent_for(float(np.abs(weight).max()), 16),
        weighted=exponent_for(float((gate * np.abs(weight)).max()), 24, HEADROOM_WIDE),
        hadamard_shift=max(0, math.ceil(math.log2(size)) - 8),
    )


def lower_layer(
    config: Mamba2Config,
    mixer: Mixer,
    trace: LayerTrace,
    e: Exponents,
    in_proj: QuantizedLinear,
    out_proj: QuantizedLinear,
) -> QuantizedLayer:
    """Everything of a layer but the two projections, which come quantized."""
    row_exp = e.of_rows(config)[config.splits()["x"].start : config.splits()["C"].stop]
    inputs = trace.ranges["rows"][config.splits()["x"].start : config.splits()["C"].stop]
    in_exp = np.array([exponent_for(v, 8) for v in inputs])
    in_shift = np.clip(in_exp - row_exp, 0, 15)
    taps = numpy64(mixer.conv1d.weight)[:, 0].T
    weight_exp = np.array([exponent_for(v, 8) for v in np.abs(taps).max(0)])
    unit = row_exp + in_shift + weight_exp
    bias = np.zeros(config.conv_dim)
    if mixer.conv1d.bias is not None:
        bias = numpy64(mixer.conv1d.bias)
    A = np.exp(numpy64(mixer.A_log)) * math.log2(math.e)
    A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
    return QuantizedLayer(
        in_proj=in_proj,
        out_proj=out_proj,
        conv_weight=to_fixed(taps, weight_exp, 8).astype(np.int8),
        conv_bias=to_fixed(bias, unit, 24).astype(np.int32),
        conv_in_shift=in_shift.astype(np.int8),
        conv_out_shift=np.clip(e.of_conv(config) - unit, -24, 40).astype(np.int8),
        dt_bias=to_fixed(numpy64(mixer.dt_bias), Q5_11, 16).astype(np.int16),
        A=to_fixed(A, -A_shift, 16).astype(np.int16),
        A_shift=A_shift.astype(np.int8),
        D=to_fixed(numpy64(mixer.D), e.D, 16).astype(np.int16),
        gate_weight=to_fixed(numpy64(mixer.norm), e.gate_weight, 16).astype(np.int16),
        exponents=e,
        eps_gate=max(1, round(config.eps * config.group_dim * 2.0 ** (-2 * e.gate))),
    )
