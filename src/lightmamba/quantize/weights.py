"""Weights to integers: round to nearest, MSE-optimal clipping, GPTQ, and the target correction.

GPTQ: Frantar et al., arXiv 2210.17323. All of it works in float64 on one matrix at a time; a row is
an output, a column an input channel, and a scale is kept per row and group of columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.formats import GroupScale, IntFormat

__all__ = ["Moments", "PackedWeights", "correct_target", "quantize_weights"]

Array = NDArray[np.float64]
SCALE = GroupScale()
CLIP_RATIOS = np.linspace(1.0, 0.5, 21)
DAMPING = 0.01  # share of the mean diagonal added to a Hessian


@dataclass
class Moments:
    """Second moments of a projection's inputs: what it sees (q) and what it should see (f)."""

    qq: Array  # (channels, channels), sum of x_q·x_qᵀ
    fq: Array  # sum of x_f·x_qᵀ
    ff: Array  # sum of x_f·x_fᵀ

    @staticmethod
    def zeros(channels: int) -> "Moments":
        """Moments of nothing."""
        return Moments(*(np.zeros((channels, channels)) for _ in range(3)))

    def add(self, x_q: NDArray[Any], x_f: NDArray[Any]) -> None:
        """Add (tokens, channels) inputs, multiplied in the width in which they come."""
        self.qq += x_q.T @ x_q
        self.fq += x_f.T @ x_q
        self.ff += x_f.T @ x_f

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.qq + other.qq, self.fq + other.fq, self.ff + other.ff)

    def error(self, weight: Array, quantized: Array) -> float:
        """Squared error of the outputs relative to their energy: |W x_f - Q x_q|² / |W x_f|²."""
        wanted = np.sum((weight @ self.ff) * weight)
        cross = np.sum((weight @ self.fq) * quantized)
        got = np.sum((quantized @ self.qq) * quantized)
        return float((wanted - 2 * cross + got) / max(wanted, 1e-300))


@dataclass(frozen=True)
class PackedWeights:
    """Integers, scale codes and the tensor's base exponent."""

    q: NDArray[np.int8]
    code: NDArray[np.uint8]
    base: int

    def dequantize(self) -> Array:
        """Real values of the integers, (rows, channels)."""
        scale = SCALE.multiplier(self.code) * 2.0**self.base
        group = self.q.shape[1] // self.code.shape[1]
        return self.q.astype(np.float64) * np.repeat(scale, group, axis=1)


def _base(weight: Array, qmax: int, spare: float) -> int:
    return SCALE.base(float(np.abs(weight).max()) * spare / qmax)


def _search(
    group: Array, importance: Array, base: int, form: IntFormat, search: bool
) -> NDArray[np.uint8]:
    """Scale code of each row of a (rows, group_size) piece.

    With ``search``, the clip ratio with the least squared error, weighted by ``importance``.
    """
    largest = np.abs(group).max(1)
    ratios = CLIP_RATIOS if search else CLIP_RATIOS[:1]
    best = np.full(len(group), np.inf)
    chosen = np.zeros(len(group), dtype=np.uint8)
    for ratio in ratios:
        code = SCALE.encode(np.maximum(largest * ratio / form.max, 1e-300), base)
        scale = (SCALE.multiplier(code) * 2.0**base)[:, None]
        rounded = np.floor(group / scale + 0.5).clip(form.min, form.max) * scale
        error = ((group - rounded) ** 2 * importance).sum(1)
        better = error < best
        chosen[better], best[better] = code[better], error[better]
    return chosen


def quantize_weights(
    weight: Array, *, bits: int, group: int, rounding: str, hessian: Array | None = None
) -> PackedWeights:
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
    hessian : (channels, channels)
        Second moments of the inputs, for "gptq".

    Raises
    ------
    ValueError
        For another rounding, or "gptq" without moments.
    """
    form = IntFormat(bits)
    rows = len(weight)
    if rounding in ("rtn", "mse"):
        base = _base(weight, form.max, 1.0)
        pieces = weight.reshape(rows, -1, group)
        code = np.stack(
            [
                _search(pieces[:, g], np.ones(group), base, form, rounding == "mse")
                for g in range(pieces.shape[1])
            ],
            axis=1,
        )
        scale = np.repeat(SCALE.multiplier(code) * 2.0**base, group, axis=1)
        q = np.floor(weight / scale + 0.5).clip(form.min, form.max).astype(np.int8)
        return PackedWeights(q, code, base)
    if rounding != "gptq" or hessian is None:
        raise ValueError(f"rounding must be rtn, mse or gptq (with moments), not {rounding!r}")
    return _gptq(weight.copy(), hessian, form, group)


def _gptq(weight: Array, hessian: Array, form: IntFormat, group: int) -> PackedWeights:
    rows, channels = weight.shape
    hessian = hessian.copy()
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    importance = np.diag(hessian).copy()
    hessian[np.diag_indices(channels)] += DAMPING * importance[~dead].mean() if (~dead).any() else 1
    # Upper Cholesky factor of the inverse: row k holds how the error of column k spreads on.
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    base = _base(weight, form.max, 1.5)
    q = np.empty((rows, channels), dtype=np.int8)
    code = np.empty((rows, channels // group), dtype=np.uint8)
    for start in range(0, channels, group):
        stop = start + group
        block, errors = weight[:, start:stop], np.empty((rows, group))
        code[:, start // group] = _search(block, importance[start:stop], base, form, True)
        scale = SCALE.multiplier(code[:, start // group]) * 2.0**base
        local = upper[start:stop, start:stop]
        for k in range(group):
            column = block[:, k]
            rounded = np.floor(column / scale + 0.5).clip(form.min, form.max)
            q[:, start + k] = rounded
            errors[:, k] = (column - rounded * scale) / local[k, k]
            block[:, k + 1 :] -= np.outer(errors[:, k], local[k, k + 1 :])
        weight[:, stop:] -= errors @ upper[start:stop, stop:]
    return PackedWeights(q, code, base)


def correct_target(weight: Array, moments: Moments, strength: float) -> Array:
    """Weights whose outputs on the quantized inputs are nearest to the float outputs.

    W + c·W(X_f - X_q)X_qᵀ(X_qX_qᵀ + λ)⁻¹ with λ = 1 % of the mean diagonal; c = ``strength``.
    """
    if strength == 0:
        return weight
    damped = moments.qq.copy()
    mean = np.diag(damped).mean()
    damped[np.diag_indices(len(damped))] += DAMPING * mean if mean > 0 else 1.0
    change = np.linalg.solve(damped, (moments.fq - moments.qq).T).T
    return weight + strength * weight @ change
