"""Memory layout of attention: a position of a head is its key, its value, and their exponents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD, WORD_BITS
from lightmamba.blocks.attention.quantized import Mixer
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.numerics.primitives import Ints

__all__ = ["parameters", "position_words", "row_order", "runs", "state_bytes", "words"]


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj that comes at each place: queries, keys, values."""
    return np.arange(sizes.in_rows)


def parameters(mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
    """Words of each static stream: none."""
    return {}


def position_words(sizes: Sizes, arch: ArchConfig) -> int:
    """64-bit words of a position of a head, padded to beats of memory."""
    beat = arch.aux_port_bits // WORD_BITS or 1
    return -(-(2 * sizes.head_dim // WORD + 1) // beat) * beat


def words(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """64-bit words of each client in a run; of one that grows, for each position."""
    return {"kv": position_words(sizes, arch)}


def runs(sizes: Sizes) -> dict[str, int]:
    """Runs of positions that a layer has of each client: one for each head of keys and values."""
    return {"kv": sizes.n_kv_heads}


def state_bytes(
    sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
) -> dict[str, NDArray[np.uint8]]:
    """A layer's state of one sequence as it lies in the regions of its clients: head by head."""
    positions, heads = len(state["k"]), sizes.n_kv_heads
    found = np.zeros((heads, positions, position_words(sizes, arch) * WORD), np.uint8)
    size = sizes.head_dim
    for n, name in enumerate(("k", "v")):
        values = np.asarray(state[name], np.int8).view(np.uint8)[..., :size]
        found[..., n * size : (n + 1) * size] = values.swapaxes(0, 1)
        exponents = np.zeros((positions, heads, WORD), np.uint8)
        given = np.asarray(state[f"{name}_exp"], np.uint8)
        exponents[..., : given.shape[-1]] = given
        packed = exponents[..., ::2] | exponents[..., 1::2] << 4
        at = 2 * size + n * WORD // 2
        found[..., at : at + WORD // 2] = packed.swapaxes(0, 1)
    return {"kv": found.ravel()}
