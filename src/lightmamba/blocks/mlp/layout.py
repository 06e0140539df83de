"""Memory layout of an MLP: weights only; its rows of a and b alternate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.blocks.mlp.quantized import Mixer
from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.numerics.primitives import Ints

__all__ = ["parameters", "row_order", "state_bytes", "words"]


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj that comes at each place: a and b of a channel follow each other."""
    rows = np.arange(sizes.in_rows)
    return rows.reshape(-1, sizes.d_hidden).T.ravel() if sizes.gated else rows


def parameters(mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
    """Words of each static stream: none."""
    return {}


def words(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """64-bit words of each client of memory: none."""
    return {}


def state_bytes(
    sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
) -> dict[str, NDArray[np.uint8]]:
    """A layer's state of one sequence: none."""
    return {}
