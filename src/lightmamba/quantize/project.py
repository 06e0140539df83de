"""Quantize one projection on the inputs that the integer path really gives it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.comparison import ROOT_BITS, rescale_input
from lightmamba.numerics.blocks import BlockQuant, block_magnitude
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints
from lightmamba.qmodel import QuantizedLinear
from lightmamba.quantize.lower import exponent_for, to_fixed
from lightmamba.quantize.weights import Moments, correct_target, quantize_weights

__all__ = ["Inputs", "Target", "quantize_projection"]

Array = NDArray[np.float64]
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the target correction
NO_WORDS = NO_CODE = np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class Inputs:
    """What a projection is given: integers, 1/rms beside them, and the floats it should see.

    Parameters
    ----------
    x : (vectors, channels), int32
        Already padded; value = x * 2**exponent.
    rms : (mantissa, j)
        Each (vectors, groups), of values in units of 2**square_exponent.
    wanted : (vectors, channels)
        Normalized inputs of the float projection.
    gain : float
        Real 1/rms, and the transform's normalization, over the integer one.
    """

    x: NDArray[np.int32]
    rms: tuple[Ints, Ints]
    exponent: int
    square_exponent: int
    wanted: NDArray[np.float32]
    gain: float

    def batches(self, size: int = 4096) -> Iterator[slice]:
        """Runs of at most ``size`` vectors; eight of them, or more."""
        size = min(size, -(-len(self.x) // 8))
        for start in range(0, len(self.x), size):
            yield slice(start, start + size)

    def normalized(self, x: Array, rows: slice) -> Array:
        """Real normalized values of integers in units of ``x``."""
        mantissa, j = (part[rows] for part in self.rms)
        factor = mantissa * 2.0 ** (self.exponent - self.square_exponent - 23 - j) * self.gain
        return x * np.repeat(factor, x.shape[1] // factor.shape[1], axis=1)


@dataclass(frozen=True)
class Target:
    """A float projection: weights (rows, channels), and what SmoothQuant or OS+ put around it."""

    weight: Array
    input_scale: Array | None = None  # (channels,), a norm weight that was not fused
    input_shift: Array | None = None  # (channels,), subtracted after the norm
    bias: Array | None = None  # (rows,)
    row_exponent: Ints | int = 0  # of the bias


def _surroundings(target: Target, inputs: Inputs) -> QuantizedLinear:
    """A projection without weights yet, with its input scale, shift and bias as integers."""
    linear = QuantizedLinear(NO_WORDS, NO_CODE, 0, 0, 0)
    if target.input_scale is not None:
        e = exponent_for(float(np.abs(target.input_scale).max()), 16)
        q = to_fixed(target.input_scale, e, 16).astype(np.int16)
        linear = replace(linear, input_scale=q, input_scale_exp=e)
    if target.input_shift is not None:
        root = inputs.square_exponent - inputs.exponent - ROOT_BITS
        value = target.input_shift * 2.0**root / inputs.gain
        e = exponent_for(float(np.abs(value).max()), 16)
        q = to_fixed(value, e, 16).astype(np.int16)
        linear = replace(linear, input_shift=q, input_shift_exp=e)
    if target.bias is not None:
        bias = to_fixed(target.bias, target.row_exponent, 32).astype(np.int32)
        linear = replace(linear, bias=bias)
    return linear


def _activation_base(act: BlockQuant, largest: int) -> int:
    """Lowest scale exponent: the largest magnitude lies one octave below the top."""
    return max(0, int(act.index(np.array(max(largest, 1)))) // 4 + 2 - 16)


def quantize_projection(
    op: Projection,
    target: Target,
    inputs: Inputs,
    *,
    rounding: str,
    correct: bool,
) -> tuple[QuantizedLinear, float]:
    """Integers of one projection, and the relative squared error of its outputs on calibration."""
    linear = _surroundings(target, inputs)

    def prepared(rows: slice) -> Ints:
        x = inputs.x[rows].astype(np.int64)
        if linear.plain:
            return x
        mantissa, j = inputs.rms
        return rescale_input(linear, x, (mantissa[rows], j[rows]))[0]

    act = op.act
    largest = max(
        int(block_magnitude(prepared(rows), act.block).max()) for rows in inputs.batches()
    )
    linear = replace(linear, act_base=_activation_base(act, largest))

    channels = target.weight.shape[1]
    fit, check = Moments.zeros(channels), Moments.zeros(channels)
    for index, rows in enumerate(inputs.batches()):
        q, code, _, _ = act(prepared(rows), linear.act_base)
        seen = inputs.normalized(act.dequantize(q, code, linear.act_base), rows)
        (fit, check)[index % 2].add(seen.astype(np.float32), inputs.wanted[rows])
    whole = fit + check

    weight = target.weight
    if correct:
        whole_way = correct_target(weight, fit, 1.0) - weight
        errors = [check.error(weight, weight + c * whole_way) for c in STRENGTHS]
        weight = correct_target(weight, whole, STRENGTHS[int(np.argmin(errors))])
    packed = quantize_weights(
        weight * inputs.gain, bits=op.bits, group=op.group, rounding=rounding, hessian=whole.qq
    )
    linear = linear.with_weights(packed.q, op.bits, code=packed.code, base=packed.base)
    rows = next(inputs.batches(1024))
    q, code, _, _ = act(prepared(rows), linear.act_base)
    acc = op(q, code, linear.q, linear.code, inputs.rms[0].shape[1])
    spare = math.ceil(math.log2(max(int(np.abs(acc).max()), 1))) + 3  # eight times what was seen
    linear = replace(linear, acc_shift=max(0, spare - 39))
    return linear, whole.error(target.weight, packed.dequantize() / inputs.gain)
