"""Rewrites of the float model that keep its function: fuse norms, rotate, transform on line.

Each works tensor by tensor in float64 and obeys one law: logits before = logits after.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.mamba2 import Mamba2
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.hadamard import fast_hadamard

__all__ = [
    "GroupedHadamard", "Shift", "fold_gate_weight", "fuse_norms", "insert_hadamard",
    "rotate_residual", "untie",
]  # fmt: skip


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
        matrix = fast_hadamard(np.eye(self.size), self.size) / np.sqrt(self.size)
        return (blocks @ torch.from_numpy(matrix.T).to(y)).flatten(-3)


class Shift(nn.Module):
    """Subtract a constant per channel; the bias of the projection behind it adds it back."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.shift


def _set(parameter: nn.Parameter, value: Tensor) -> None:
    parameter.data = value.to(parameter.dtype)


def untie(model: Mamba2) -> None:
    """Give the head weights of its own."""
    if model.lm_head.weight is model.embedding.weight:
        model.lm_head.weight = nn.Parameter(model.embedding.weight.detach().clone())


def fuse_norms(model: Mamba2) -> None:
    """Move the weights of every residual norm into the projections behind them."""
    untie(model)
    for layer in model.layers:
        weight = layer.mixer.in_proj.weight
        _set(weight, weight.double() * layer.norm.double())
        layer.norm.data.fill_(1)
    weight = model.lm_head.weight
    _set(weight, weight.double() * model.norm_f.double())
    model.norm_f.data.fill_(1)


def rotate_residual(model: Mamba2, rotation: NDArray[np.float64]) -> None:
    """Turn the residual stream: u becomes u @ rotation (off-line, R1 of SpinQuant).

    Raises
    ------
    ValueError
        If a norm weight stands in the way.
    """
    if not all((layer.norm == 1).all() for layer in model.layers) or (model.norm_f != 1).any():
        raise ValueError("norm weights must be fused before the residual stream is rotated")
    untie(model)
    R = torch.from_numpy(rotation)
    for weight in [model.embedding.weight, model.lm_head.weight]:
        _set(weight, weight.double() @ R)
    for layer in model.layers:
        mixer = layer.mixer
        _set(mixer.in_proj.weight, mixer.in_proj.weight.double() @ R)
        _set(mixer.out_proj.weight, R.T @ mixer.out_proj.weight.double())




def fold_gate_weight(model: Mamba2, index: int) -> None:
    """Move the gated norm's weight of one layer into out_proj."""
    mixer = model.layers[index].mixer
    _set(mixer.out_proj.weight, mixer.out_proj.weight.double() * mixer.norm.double())
    mixer.norm.data.fill_(1)


def insert_hadamard(model: Mamba2, op: OnlineHadamard) -> None:
    """Put the on-line transform before every out_proj and its inverse into the weights."""
    c = model.config
    for layer in model.layers:
        mixer = layer.mixer
        transform = GroupedHadamard(op, c.ngroups, c.group_dim)
        rotated = transform(mixer.out_proj.weight.data.double())
        mixer.out_proj = nn.Linear(rotated.shape[1], c.d_model, bias=False, dtype=_dtype(model))
        _set(mixer.out_proj.weight, rotated)
        mixer.before_out = transform


def _dtype(model: Mamba2) -> torch.dtype:
    """Type of the model's parameters."""
    return model.embedding.weight.dtype
