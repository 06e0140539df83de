"""Rewrites of the float model that keep its function: fuse norms, rotate, transform online.

Each works on some rows at a time in float64, on one layer, and obeys one law:
logits before = logits after.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lightmamba.common.errors import InputError
from lightmamba.model.causal_lm import Layer
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.hadamard import hadamard, has_hadamard
from lightmamba.quantization.rotation import Rotation, wide

__all__ = [
    "GroupedHadamard", "Shift", "fold_gate_weight", "fuse_layer", "insert_hadamard",
    "rotate_layer", "set_parameter",
]  # fmt: skip

ROWS = 2048  # of a weight that are rewritten together


@lru_cache(maxsize=4)
def _orthogonal(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Hadamard matrix over the root of its order, transposed for rows of channels."""
    return torch.from_numpy(hadamard(size).T / np.sqrt(size)).to(device, dtype)


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
        mixed: Tensor = blocks @ _orthogonal(self.size, y.dtype, y.device)
        return mixed.flatten(-3)


class Shift(nn.Module):
    """Subtract a constant per channel; the bias of the projection after it adds it back."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., channels) to the same shape."""
        shifted: Tensor = x - self.shift
        return shifted


def set_parameter(parameter: Tensor, value: Tensor) -> None:
    """Give a parameter a new value, in the type that it has."""
    parameter.data = value.to(parameter.dtype)


def rewrite_rows(parameter: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Rewrite a matrix some rows at a time, which go to and come from ``change`` in float64."""
    for rows in parameter.data.split(ROWS):
        rows.copy_(change(wide(rows)))


def _check_untouched(layer: Layer, *, what: str) -> None:
    """Refuse a layer whose inputs were shifted: the shift would have to change too."""
    shifted = isinstance(layer.before_in, Shift) or isinstance(layer.mixer.before_out, Shift)
    linears = [*layer.mixer.entering, layer.mixer.out_proj]
    if shifted or any(linear.bias is not None for linear in linears):
        raise ValueError(f"{what} must come before channels are shifted")


@torch.no_grad()
def fuse_layer(layer: Layer) -> None:
    """Move the weight of the residual norm into the projections after it.

    Raises
    ------
    ValueError
        If channels are shifted already.
    """
    _check_untouched(layer, what="fusing norms")
    norm = wide(layer.norm)
    for linear in layer.mixer.entering:
        rewrite_rows(linear.weight, lambda rows: rows * norm.to(rows))
    layer.norm.data.fill_(1)


@torch.no_grad()
def rotate_layer(layer: Layer, rotation: Rotation) -> None:
    """Turn what a layer takes from the residual stream and what it adds.

    Raises
    ------
    ValueError
        If the norm still has a weight, or channels are shifted already.
    """
    if bool((layer.norm != 1).any()):
        raise ValueError("norm weights must be fused before the residual stream is rotated")
    _check_untouched(layer, what="rotating the residual stream")
    for linear in layer.mixer.entering:
        rewrite_rows(linear.weight, rotation)
    for block in layer.mixer.out_proj.weight.data.split(len(layer.norm)):
        turned = block.T.contiguous()
        rewrite_rows(turned, rotation)
        block.copy_(turned.T)


@torch.no_grad()
def fold_gate_weight(layer: Layer) -> None:
    """Move the gated norm's weight into out_proj.

    Raises
    ------
    ValueError
        If the input of out_proj is transformed or shifted already.
    """
    mixer = layer.mixer
    if not isinstance(mixer.before_out, nn.Identity):
        raise ValueError("the gated norm's weight must be folded before its output is transformed")
    norm = wide(mixer.norm)
    rewrite_rows(mixer.out_proj.weight, lambda rows: rows * norm.to(rows))
    mixer.norm.data.fill_(1)


@torch.no_grad()
def insert_hadamard(layer: Layer, op: OnlineHadamard) -> None:
    """Put the on-line transform before out_proj and its inverse into the weights.

    Raises
    ------
    ValueError
        If the input of out_proj is transformed or shifted already.
    InputError
        If there is no Hadamard matrix of a norm group's size.
    """
    mixer = layer.mixer
    groups, dim = mixer.sizes.out_groups, mixer.sizes.out_dim // mixer.sizes.out_groups
    if not has_hadamard(size := op.size(dim)):
        raise InputError(
            f"no Hadamard matrix of order {size} is built here for a whole norm group of this "
            f"model; write order = 128 in online_hadamard"
        )
    if not isinstance(mixer.before_out, nn.Identity):
        raise ValueError("the input of out_proj is transformed or shifted already")
    transform = GroupedHadamard(op, groups, dim)
    old = mixer.out_proj.weight.data
    rotated = torch.cat([transform(wide(rows)).to(old) for rows in old.split(ROWS)])
    mixer.out_proj = nn.Linear(
        rotated.shape[1], len(old), bias=False, dtype=old.dtype, device="meta"
    )
    mixer.out_proj.weight = nn.Parameter(rotated, requires_grad=False)
    mixer.before_out = transform
