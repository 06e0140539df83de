"""Rewrites of the float model that keep its function: fuse norms, rotate, transform on line.

Each works tensor by tensor in float64 and obeys one law: logits before = logits after.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.errors import InputError
from lightmamba.mamba2 import Mamba2, Mamba2Layer
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.hadamard import hadamard, has_hadamard

__all__ = [
    "GroupedHadamard", "Shift", "fold_gate_weight", "fuse_norms", "insert_hadamard", "layers_of",
    "rotate_residual", "set_parameter", "untie",
]  # fmt: skip


@lru_cache(maxsize=4)
def _orthogonal(size: int, dtype: torch.dtype) -> Tensor:
    """Hadamard matrix over the root of its order, transposed for rows of channels."""
    return torch.from_numpy(hadamard(size).T / np.sqrt(size)).to(dtype)


class GroupedHadamard(nn.Module):
    """Orthogonal Hadamard transform within each norm group, zero-padded to whole blocks."""

    def __init__(self, op: OnlineHadamard, ngroups: int, group_dim: int) -> None:
        super().__init__()
        self.op, self.ngroups, self.group_dim = op, ngroups, group_dim
        self.size = op.size(group_dim)

    def forward(self, y: Tensor) -> Tensor:
        """Map (..., d_inner) to (..., ngroups * padded)."""
        grouped = y.unflatten(-1, (self.ngroups, self.group_dim))
        width = self.op.padded(self.group_dim) - self.group_dim
        padded = nn.functional.pad(grouped, (0, width))
        if self.size == 1:
            return padded.flatten(-2)
        blocks = padded.unflatten(-1, (-1, self.size))
        mixed: Tensor = blocks @ _orthogonal(self.size, y.dtype)
        return mixed.flatten(-3)


class Shift(nn.Module):
    """Subtract a constant per channel; the bias of the projection behind it adds it back."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., channels) to the same shape."""
        shifted: Tensor = x - self.shift
        return shifted


def layers_of(model: Mamba2) -> list[Mamba2Layer]:
    """Layers under their own type."""
    return [layer for layer in model.layers if isinstance(layer, Mamba2Layer)]


def set_parameter(parameter: Tensor, value: Tensor) -> None:
    """Give a parameter a new value, in the type that it has."""
    parameter.data = value.to(parameter.dtype)


def untie(model: Mamba2) -> None:
    """Give the head weights of its own."""
    if model.lm_head.weight is model.embedding.weight:
        model.lm_head.weight = nn.Parameter(model.embedding.weight.detach().clone())


def _check_untouched(layer: Mamba2Layer, *, what: str) -> None:
    """Refuse a layer whose inputs were shifted: the shift would have to change too."""
    shifted = isinstance(layer.before_in, Shift) or isinstance(layer.mixer.before_out, Shift)
    if shifted or layer.mixer.in_proj.bias is not None or layer.mixer.out_proj.bias is not None:
        raise ValueError(f"{what} must come before channels are shifted")


def fuse_norms(model: Mamba2) -> None:
    """Move the weights of every residual norm into the projections behind them.

    Raises
    ------
    ValueError
        If channels are shifted already.
    """
    untie(model)
    for layer in layers_of(model):
        _check_untouched(layer, what="fusing norms")
        weight = layer.mixer.in_proj.weight
        set_parameter(weight, weight.double() * layer.norm.double())
        layer.norm.data.fill_(1)
    weight = model.lm_head.weight
    set_parameter(weight, weight.double() * model.norm_f.double())
    model.norm_f.data.fill_(1)


def rotate_residual(model: Mamba2, rotation: NDArray[np.float64]) -> None:
    """Turn the residual stream: u becomes u @ rotation (off-line, R1 of SpinQuant).

    Raises
    ------
    ValueError
        If a norm weight stands in the way, or channels are shifted already.
    """
    norms = [*(layer.norm for layer in layers_of(model)), model.norm_f]
    if any(bool((norm != 1).any()) for norm in norms):
        raise ValueError("norm weights must be fused before the residual stream is rotated")
    untie(model)
    R = torch.from_numpy(rotation)
    for weight in (model.embedding.weight, model.lm_head.weight):
        set_parameter(weight, weight.double() @ R)
    for layer in layers_of(model):
        _check_untouched(layer, what="rotating the residual stream")
        mixer = layer.mixer
        set_parameter(mixer.in_proj.weight, mixer.in_proj.weight.double() @ R)
        set_parameter(mixer.out_proj.weight, R.T @ mixer.out_proj.weight.double())


def fold_gate_weight(model: Mamba2, index: int) -> None:
    """Move the gated norm's weight of one layer into out_proj.

    Raises
    ------
    ValueError
        If the input of out_proj is transformed or shifted already.
    """
    mixer = layers_of(model)[index].mixer
    if not isinstance(mixer.before_out, nn.Identity):
        raise ValueError("the gated norm's weight must be folded before its output is transformed")
    set_parameter(mixer.out_proj.weight, mixer.out_proj.weight.double() * mixer.norm.double())
    mixer.norm.data.fill_(1)


def insert_hadamard(model: Mamba2, op: OnlineHadamard) -> None:
    """Put the on-line transform before every out_proj and its inverse into the weights.

    Raises
    ------
    ValueError
        If the input of out_proj is transformed or shifted already.
    InputError
        If there is no Hadamard matrix of a norm group's size.
    """
    c = model.config
    if not has_hadamard(size := op.size(c.group_dim)):
        raise InputError(
            f"no Hadamard matrix of order {size} is built here for a whole norm group of this "
            f"model; write order = 128 in online_hadamard"
        )
    for layer in layers_of(model):
        mixer = layer.mixer
        if not isinstance(mixer.before_out, nn.Identity):
            raise ValueError("the input of out_proj is transformed or shifted already")
        transform = GroupedHadamard(op, c.ngroups, c.group_dim)
        old = mixer.out_proj.weight
        rotated = transform(old.data.double())
        mixer.out_proj = nn.Linear(rotated.shape[1], c.d_model, bias=False, dtype=old.dtype)
        set_parameter(mixer.out_proj.weight, rotated)
        mixer.before_out = transform
