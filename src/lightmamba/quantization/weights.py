"""Weights to integers: round to nearest, MSE-optimal clipping, GPTQ.

GPTQ: Frantar et al., arXiv 2210.17323. A row is an output, a column an input channel, and a scale
is kept per row and group of columns. Work goes on in the type and on the device of the weights,
some rows at a time, transposed: there a column lies together in memory.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.numerics.formats import GroupScale, IntFormat
from lightmamba.quantization.moments import Factor

__all__ = ["PackedWeights", "base_of", "quantize_weights"]

SCALE = GroupScale()
CLIP_RATIOS = np.linspace(1.0, 0.5, 21).tolist()
ROWS = 8192  # that are rounded together
PART = 1024  # rows whose scales are searched together, so that they stay in the cache
RUN = 16  # columns after which GPTQ's errors move on as a matrix product


@dataclass(frozen=True)
class Range:
    """Integers that a weight may be."""

    min: int
    max: int


@dataclass(frozen=True)
class PackedWeights:
    """Integers, scale codes and the tensor's base exponent."""

    q: NDArray[np.int8]
    code: NDArray[np.uint8]
    base: int

    def rows(self, rows: slice, like: Tensor) -> Tensor:
        """Real values of some rows, in the type and on the device of ``like``."""
        q = torch.from_numpy(self.q[rows]).to(like)
        code = torch.from_numpy(self.code[rows].astype(np.int64)).to(q.device)
        scale = _decode(code, self.base, like)
        real: Tensor = (q.unflatten(1, (scale.shape[1], -1)) * scale[..., None]).flatten(1)
        return real


def _decode(code: Tensor, base: int, like: Tensor) -> Tensor:
    return torch.from_numpy(SCALE.table()).to(like.dtype).to(like.device)[code] * 2.0**base


def _encode(scale: Tensor, base: int) -> Tensor:
    """Code of the nearest representable scale: codes lie in the order of their scales."""
    table = torch.from_numpy(SCALE.table()).to(scale.dtype).to(scale.device)
    return torch.bucketize(scale * 2.0**-base, (table[1:] + table[:-1]) / 2)


def base_of(weight: Tensor, qmax: int, rounding: str, gain: float = 1.0) -> int:
    """Exponent of the scales of (rows, channels) times a gain; GPTQ makes weights larger."""
    largest = max(float(part.abs().max()) for part in weight.split(ROWS)) * gain
    return SCALE.base(largest * (1.5 if rounding == "gptq" else 1.0) / qmax)


def _round(column: Tensor, scale: Tensor, form: Range) -> Tensor:
    """Integers of values in units of ``scale``, half up, saturated."""
    return (column / scale).add_(0.5).floor_().clamp_(form.min, form.max)


def _search(
    group: Tensor, importance: Tensor | None, base: int, form: Range, search: bool
) -> Tensor:
    """Scale code of each row of a (group_size, rows) piece.

    With ``search``, the clip ratio with the least squared error, weighted by ``importance``.
    """
    largest = group.abs().amax(0)
    if not search:
        return _encode(largest / form.max, base)
    chosen = torch.empty_like(largest, dtype=torch.int64)
    weights = torch.ones_like(group[:, 0]) if importance is None else importance
    for start in range(0, group.shape[1], PART):
        part, top = group[:, start : start + PART], largest[start : start + PART]
        least, found = torch.full_like(top, torch.inf), torch.zeros_like(top, dtype=torch.int64)
        work = torch.empty_like(part)
        for ratio in CLIP_RATIOS:
            code = _encode(top * (ratio / form.max), base)
            scale = _decode(code, base, top)
            torch.mul(part, 1 / scale, out=work)
            work.add_(0.5).floor_().clamp_(form.min, form.max).mul_(scale).sub_(part).square_()
            error = weights @ work
            better = error < least
            found, least = torch.where(better, code, found), torch.where(better, error, least)
        chosen[start : start + PART] = found
    return chosen


def quantize_weights(
    weight: Tensor, *, bits: int, group: int, rounding: str, factor: Factor | None = None,
    qmax: int = 0, base: int | None = None,
) -> PackedWeights:  # fmt: skip
    """Quantize (rows, channels) to ``bits``.

    Parameters
    ----------
    weight : (rows, channels)
        Left as it is.
    bits : int
        4 or 8.
    group : int
        Channels that share a scale; it divides them.
    rounding : str
        "rtn" (scale from the largest magnitude), "mse" (clip ratio searched) or "gptq".
    factor : Factor
        Of the inputs' second moments, for "gptq".
    qmax : int
        Largest integer; 0: what the bits hold.
    base : int, optional
        Exponent of the scales; by default that of the largest weight.

    Raises
    ------
    ValueError
        For another rounding, or "gptq" without a factor.
    """
    if rounding not in ("rtn", "mse") and (rounding != "gptq" or factor is None):
        raise ValueError(f"rounding must be rtn, mse or gptq (with moments), not {rounding!r}")
    form, (rows, channels) = Range(-(1 << (bits - 1)), qmax or IntFormat(bits).max), weight.shape
    base = base_of(weight, form.max, rounding) if base is None else base
    q = np.empty((rows, channels), dtype=np.int8)
    code = np.empty((rows, channels // group), dtype=np.uint8)
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        columns = weight[part].T.clone(memory_format=torch.contiguous_format)
        if rounding == "gptq" and factor is not None:
            found = _gptq(columns, factor, base, form, group)
        else:
            found = _nearest(columns, base, form, group, rounding == "mse")
        q[part], code[part] = (x.T.cpu().numpy() for x in found)
    return PackedWeights(q, code, base)


def _nearest(
    columns: Tensor, base: int, form: Range, group: int, search: bool
) -> tuple[Tensor, Tensor]:
    """Integers (channels, rows) and codes (channels / group, rows), group by group."""
    q, codes = torch.empty_like(columns, dtype=torch.int8), []
    for start in range(0, len(columns), group):
        block = columns[start : start + group]
        codes.append(_search(block, None, base, form, search))
        q[start : start + group] = _round(block, _decode(codes[-1], base, block), form)
    return q, torch.stack(codes).to(torch.uint8)


def _gptq(
    columns: Tensor, factor: Factor, base: int, form: Range, group: int
) -> tuple[Tensor, Tensor]:
    """Round by GPTQ; ``columns`` is overwritten.

    Row k of the factor holds how the error of column k spreads on.
    """
    columns[factor.dead] = 0
    upper, importance = factor.upper.to(columns), factor.energy.to(columns)
    diagonal = upper.diagonal().tolist()
    q, codes = torch.empty_like(columns, dtype=torch.int8), []
    for start in range(0, len(columns), group):
        stop = start + group
        block, local = columns[start:stop], upper[start:stop, start:stop]
        codes.append(_search(block, importance[start:stop], base, form, True))
        scale, errors = _decode(codes[-1], base, block), torch.empty_like(block)
        for first in range(0, group, RUN):
            last = min(first + RUN, group)
            for k in range(first, last):
                rounded = _round(block[k], scale, form)
                q[start + k] = rounded
                torch.sub(block[k], rounded.mul_(scale), out=errors[k])
                errors[k] /= diagonal[start + k]
                if k + 1 < last:
                    block[k + 1 : last].addr_(local[k, k + 1 : last], errors[k], alpha=-1)
            if last < group:
                block[last:].addmm_(local[first:last, last:].T, errors[first:last], alpha=-1)
        if stop < len(columns):
            columns[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1)
    return q, torch.stack(codes).to(torch.uint8)
