"""From the float embedding to its integers, and other arrays brought to their shape."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks.floating import numpy64
from lightmamba.model.qmodel import Table
from lightmamba.numerics.formats import GroupScale, IntFormat
from lightmamba.numerics.model_formats import Formats

__all__ = ["lower_embedding", "pad_groups"]

ROWS = 4096  # of the embedding that are lowered together
N = TypeVar("N", bound=np.generic)


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
