"""Memory layout of attention: keys, values and exponents in units, over the lanes' channels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD
from lightmamba.arch.spread import spread
from lightmamba.blocks.attention.quantized import Mixer
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.numerics.primitives import Ints

__all__ = ["parameters", "position_words", "row_order", "runs", "state_bytes", "words"]

HALF = WORD // 2  # bytes of a key's exponents


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj that comes at each place: queries, keys, values."""
    return np.arange(sizes.in_rows)


def parameters(mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
    """Words of each static stream: none."""
    return {}


def position_words(sizes: Sizes, arch: ArchConfig) -> int:
    """64-bit words of a key and its value: W/M channels of one, then as many of the other."""
    wide = arch.position_channels
    return -(-sizes.head_dim // wide) * 2 * wide // WORD


def words(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """64-bit words of each client in a run; of one that grows, for each position."""
    return {"kv": 1 + position_words(sizes, arch)}


def runs(sizes: Sizes) -> dict[str, int]:
    """Runs of positions that a layer has of each client: one for each head of keys and values."""
    return {"kv": sizes.n_kv_heads}


def state_bytes(
    sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
) -> dict[str, NDArray[np.uint8]]:
    """A layer's state of one sequence as it lies in the regions of its clients: head by head."""
    (positions, heads), wide = state["k_exp"].shape[:2], arch.position_channels
    values = np.zeros((heads, positions, position_words(sizes, arch) * WORD), np.uint8)
    exponents = np.zeros((heads, positions, WORD), np.uint8)
    parts = -(-sizes.head_dim // wide)
    halves = values.reshape(heads, positions, parts, 2, wide)
    for n, name in enumerate(("k", "v")):
        given = np.asarray(state[name], np.int8).view(np.uint8)[..., : sizes.head_dim]
        padded = np.pad(given, [(0, 0), (0, 0), (0, -sizes.head_dim % wide)]).swapaxes(0, 1)
        halves[..., n, :] = padded.reshape(heads, positions, parts, wide)
        codes = np.zeros((positions, heads, 2 * HALF), np.uint8)
        exps = np.asarray(state[f"{name}_exp"], np.uint8)
        codes[..., : exps.shape[-1]] = exps
        packed = codes[..., ::2] | codes[..., 1::2] << 4
        exponents[..., n * HALF : (n + 1) * HALF] = packed.swapaxes(0, 1)
    return spread(arch, "kv", exponents, values)
