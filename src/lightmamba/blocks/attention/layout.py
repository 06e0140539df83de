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

__all__ = [
    "parameters", "position_words", "row_order", "runs", "section_words", "state_bytes", "words",
]  # fmt: skip


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj that comes at each place: queries, keys, values."""
    return np.arange(sizes.in_rows)


def parameters(mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
    """Words of each static stream: none."""
    return {}


def section_words(sizes: Sizes, arch: ArchConfig) -> tuple[int, int]:
    """64-bit words of a key or a value, and of the exponents of both: whole beats of memory."""
    beat = max(1, arch.aux_port_bits // WORD_BITS)
    return -(-sizes.head_dim // WORD // beat) * beat, beat


def position_words(sizes: Sizes, arch: ArchConfig) -> int:
    """64-bit words of a position of a head."""
    values, exponents = section_words(sizes, arch)
    return 2 * values + exponents


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
    size, section = sizes.head_dim, section_words(sizes, arch)[0] * WORD
    for n, name in enumerate(("k", "v")):
        values = np.asarray(state[name], np.int8).view(np.uint8)[..., :size]
        found[..., n * section : n * section + size] = values.swapaxes(0, 1)
        exponents = np.zeros((positions, heads, WORD), np.uint8)
        given = np.asarray(state[f"{name}_exp"], np.uint8)
        exponents[..., : given.shape[-1]] = given
        packed = exponents[..., ::2] | exponents[..., 1::2] << 4
        at = 2 * section + n * WORD // 2
        found[..., at : at + WORD // 2] = packed.swapaxes(0, 1)
    return {"kv": found.ravel()}
