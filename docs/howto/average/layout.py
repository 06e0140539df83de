"""How the accelerator's memory holds an average: the values of a token, layer by layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.numerics.primitives import Ints

from .quantized import Mixer
from .sizes import Sizes

__all__ = ["parameters", "row_order", "state_bytes", "words"]


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj that comes at each place."""
    return np.arange(sizes.in_rows)


def parameters(mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
    """Words of each static stream: none."""
    return {}


def words(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """64-bit words of each client in a layer; of one that grows, for each token."""
    return {"values": sizes.channels // 4}


def state_bytes(
    sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
) -> dict[str, NDArray[np.uint8]]:
    """A layer's state of one sequence as it lies in the regions of its clients."""
    return {"values": np.ascontiguousarray(state["values"], "<i2").view(np.uint8).ravel()}
