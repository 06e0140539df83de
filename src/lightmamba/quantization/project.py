"""Quantize the embedding, and a projection on the inputs that the integer path really gives it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.floating import numpy64
from lightmamba.engine.reference import ROOT_BITS, rescale_input
from lightmamba.model.qmodel import QuantizedLinear, Table
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import GroupScale, IntFormat, exponent_for, to_fixed
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.quantization.moments import Factor, Moments, correct_target
from lightmamba.quantization.streams import Picked, Rows
from lightmamba.quantization.weights import ROWS, PackedWeights, quantize_weights

__all__ = ["NO_CODE", "NO_WORDS", "FloatProjection", "Inputs", "lower_embedding", "pad_groups"]
__all__ += ["Fixed", "act_base_of", "pad_columns", "quantize_projection"]

Array = NDArray[np.float64]
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the target correction
NO_WORDS = NO_CODE = np.zeros((0, 0), np.uint8)
BATCH = 2048  # vectors that are looked at together
PROBE = 1024  # vectors that the accumulator's shift is taken from
JUDGES = 1 << 29  # values of moments times rows that judge, or 256 rows: all rows of small models
LOWERED = 4096  # rows of the embedding that are lowered together
N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True)
class Inputs:
    """Calibration inputs of a projection, their 1/rms, and its target outputs.

    Parameters
    ----------
    x : Rows
        (vectors, n) int32; value = x * 2**exponent.
    groups, channels : int
        Runs of x, each zero-padded, and what they are padded to together.
    rms : (mantissa, j)
        Each (vectors, groups), of values in units of 2**square_exponent.
    gain : float
        Real 1/rms, and the transform's normalization, over the integer one.
    quantize
        The engine's block quantizer.
    wanted
        Some rows of the normalized inputs of the float projection, (rows, channels), or of its
        outputs without bias.
    outputs : bool
        Which of the two.
    weight : (vectors,) or None
        Factor of each vector and its target, by which its error counts.
    """

    x: Rows | Picked
    groups: int
    channels: int
    rms: tuple[Ints, Ints]
    exponent: int
    square_exponent: int
    gain: float
    quantize: Callable[[BlockQuant, Ints, int, int], Any]
    wanted: Callable[[slice], Tensor]
    outputs: bool = False
    weight: Array | None = None

    def batches(self, size: int = BATCH) -> Iterator[slice]:
        """Runs of at most ``size`` vectors; eight of them, or more."""
        size = min(size, max(1, -(-len(self.x) // 8)))
        for start in range(0, len(self.x), size):
            yield slice(start, start + size)

    def prepared(self, linear: QuantizedLinear, rows: slice) -> Ints:
        """Integers that are block-quantized, (rows, channels)."""
        x = pad_groups(self.x.read(rows), self.groups, self.channels)
        if linear.plain:
            return x
        mantissa, j = self.rms
        return rescale_input(linear, x.astype(np.int64), (mantissa[rows], j[rows]))[0]

    def quantized(
        self, act: BlockQuant, linear: QuantizedLinear, rows: slice
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
        """Block-quantized integers and their codes."""
        x = self.prepared(linear, rows)
        q, code, _, _ = self.quantize(act, x, self.channels, linear.act_base)
        return q, code

    def seen(self, act: BlockQuant, linear: QuantizedLinear, rows: slice, like: Tensor) -> Tensor:
        """Real normalized values of them, in the type and on the device of ``like``."""
        q, code = self.quantized(act, linear, rows)
        mantissa, j = (part[rows] for part in self.rms)
        shift = self.exponent - self.square_exponent - 23 - j + linear.act_base - 2
        factor = np.repeat(mantissa * 2.0**shift * self.gain, code.shape[1] // j.shape[1], axis=1)
        return scaled(q, BlockQuant.multiplier(code) * factor, like)


def scaled(q: NDArray[np.int8], scale: NDArray[Any], like: Tensor) -> Tensor:
    """Integers (vectors, channels) times a scale for each run of them, (vectors, runs)."""
    values = torch.from_numpy(q).to(like).unflatten(1, (scale.shape[1], -1))
    real: Tensor = (
        values * torch.from_numpy(scale).to(like.dtype).to(like.device)[..., None]
    ).flatten(1)
    return real


@dataclass(frozen=True)
class FloatProjection:
    """A float projection: weights (rows, channels), and what SmoothQuant or OS+ put around it."""

    weight: Tensor
    input_scale: Array | None = None  # (channels,), a norm weight that was not fused
    input_shift: Array | None = None  # (channels,), subtracted after the norm
    bias: Array | None = None  # (rows,)
    row_exponent: Ints | int = 0  # of the bias


def _surroundings(target: FloatProjection, inputs: Inputs) -> QuantizedLinear:
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


@dataclass(frozen=True)
class Fixed:
    """Numbers that a block of a matrix has in common with the others.

    Parameters
    ----------
    act_base : int
        Of the activation scales.
    base : int
        Exponent of the weight scales.
    moments : (channels, channels), optional
        Second moments of the inputs, instead of those of its own.
    added : int
        Blocks whose sums are added before they are rounded.
    """

    act_base: int
    base: int
    moments: Tensor | None
    added: int = 1


def quantize_projection(
    op: Projection,
    target: FloatProjection,
    inputs: Inputs,
    *,
    rounding: str,
    correct: bool,
    fixed: Fixed | None = None,
) -> tuple[QuantizedLinear, float]:
    """Integers of one projection, and the relative squared error of its outputs on calibration.

    ``target.weight`` is rewritten where the target is corrected.
    """
    linear, act = _surroundings(target, inputs), op.act
    act_base = act_base_of(act, inputs, linear) if fixed is None else fixed.act_base
    linear = replace(linear, act_base=act_base)
    weight, judges = target.weight, _judges(target.weight)
    judged = weight[judges].clone()
    fit, check = (
        Moments(inputs.channels, len(weight) if inputs.outputs else 0, weight) for _ in range(2)
    )
    energy = 0.0
    for index, rows in enumerate(inputs.batches()):
        wanted, seen = inputs.wanted(rows), inputs.seen(act, linear, rows, weight)
        if inputs.weight is not None:
            factors = torch.from_numpy(inputs.weight[rows]).to(seen)[:, None]
            wanted, seen = wanted * factors, seen * factors
        (fit, check)[index % 2].add(seen, wanted)
        outputs = wanted[:, judges] if inputs.outputs else wanted @ judged.T
        energy += float(outputs.square().sum(1).cpu().double().sum())

    if correct:
        rough = Factor(fit.whole().qq, exact=False)
        whole_way = correct_target(judged, fit, rough, 1.0, judges) - judged
        del rough
        strength = _best_strength(judged, whole_way, check.whole(), judges)
    whole, factor = fit.join(check), None
    del check
    if rounding == "gptq":
        given = None if fixed is None else fixed.moments
        factor = Factor(whole.qq if given is None else given)
        if correct and strength:
            _correct(weight, whole, factor, strength)
    weight *= inputs.gain
    packed = quantize_weights(
        weight, bits=op.bits, group=op.group, rounding=rounding, factor=factor,
        qmax=op.weight_qmax, base=None if fixed is None else fixed.base,
    )  # fmt: skip
    linear = linear.with_weights(packed.q, op.bits, code=packed.code, base=packed.base)
    added = 1 if fixed is None else fixed.added
    linear = replace(linear, acc_shift=_accumulator_shift(op, linear, inputs, weight, added))
    got = packed.rows(judges, judged) / inputs.gain
    error = energy + whole.excess(judged, got, judges)
    return linear, max(error, 0.0) / max(energy, 1e-300)


def act_base_of(act: BlockQuant, inputs: Inputs, linear: QuantizedLinear) -> int:
    """Lowest exponent of the activation scales, by the largest of all inputs."""
    largest = max(
        int(np.abs(inputs.prepared(linear, rows), dtype=np.int64).max())
        for rows in inputs.batches()
    )
    return _activation_base(act, largest)


def _judges(weight: Tensor) -> slice:
    """Rows on which an error is estimated."""
    rows, channels = weight.shape
    return slice(0, rows, max(1, rows // max(256, JUDGES // channels**2)))


def _best_strength(weight: Tensor, change: Tensor, moments: Moments, rows: slice) -> float:
    """The strength with the least error: a parabola through three of them gives all."""
    none, half, full = (
        moments.excess(weight, weight.add(change, alpha=c), rows) for c in (0.0, 0.5, 1.0)
    )
    bend, slope = 2 * (none + full - 2 * half), 4 * half - 3 * none - full
    return min(STRENGTHS, key=lambda c: bend * c * c + slope * c)


def _correct(weight: Tensor, moments: Moments, factor: Factor, strength: float) -> None:
    """Correct the target in place, some rows at a time."""
    for start in range(0, len(weight), ROWS):
        rows = slice(start, min(start + ROWS, len(weight)))
        weight[rows] = correct_target(weight[rows], moments, factor, strength, rows)


def _accumulator_shift(
    op: Projection, linear: QuantizedLinear, inputs: Inputs, like: Tensor, added: int
) -> int:
    """Shift of ``added`` sums, from the largest of some vectors with three bits to spare.

    The sums are those of the integers, taken in floats: seven digits of them suffice.
    """
    first = next(inputs.batches(PROBE), None)
    if first is None:  # a block that no vector takes
        return 0
    q, code = inputs.quantized(op.act, linear, first)
    x = scaled(q, BlockQuant.multiplier(code), like)
    weights = PackedWeights(linear.q, linear.code, 0)
    largest, width = 1.0, inputs.channels // inputs.groups
    for start in range(0, linear.shape[0], ROWS):
        w = weights.rows(slice(start, start + ROWS), like)
        for at in range(0, inputs.channels, width):
            part = slice(at, at + width)
            largest = max(largest, float((x[:, part] @ w[:, part].T).abs().max()))
    return max(0, math.ceil(math.log2(largest * added)) + 3 - 39)


def pad_groups(x: NDArray[N], groups: int, channels: int) -> NDArray[N]:
    """Zero-pad each of ``groups`` runs of the last axis to ``channels`` together."""
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    width = channels // groups - grouped.shape[-1]
    if width == 0:
        return x
    padded = np.pad(grouped, [(0, 0)] * (grouped.ndim - 1) + [(0, width)])
    return padded.reshape(*x.shape[:-1], channels)


def pad_columns(weight: Tensor, channels: int) -> Tensor:
    """Zero-pad (rows, n) to ``channels``."""
    return torch.nn.functional.pad(weight, (0, channels - weight.shape[1]))


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
    blocks = [slice(at, min(at + LOWERED, count)) for at in range(0, count, LOWERED)]
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
