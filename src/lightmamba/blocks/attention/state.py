"""State of a sequence in an attention layer: keys and values of every token."""

from typing import Any

import numpy as np

from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.numerics.attention import Attention
from lightmamba.numerics.model_formats import Formats

__all__ = ["bytes_per_token", "float_chunk", "float_values", "numerics", "state", "tokens"]


def numerics(sizes: Sizes) -> Attention:
    """Arithmetic of a head, with blocks along head_dim."""
    return Attention(min(32, sizes.head_dim))


def state(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of each array of one sequence that does not grow: none."""
    return {}


def tokens(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of what every token adds: int8 and exponents of blocks of 32 channels."""
    block = numerics(sizes).block
    blocks = -(-sizes.head_dim // block)
    values, exponents = (sizes.n_kv_heads, blocks * block), (sizes.n_kv_heads, blocks)
    return {
        "k": (np.int8, values), "k_exp": (np.int8, exponents),
        "v": (np.int8, values), "v_exp": (np.int8, exponents),
    }  # fmt: skip


def bytes_per_token(sizes: Sizes, formats: Formats) -> dict[str, int]:
    """Bytes written per token; reads grow with the context: as much for each token before."""
    sizes_of = tokens(sizes, formats).values()
    return {"kv": sum(int(np.prod(shape)) for _, shape in sizes_of)}


def float_values(sizes: Sizes) -> int:
    """Values of the state of a sequence in the float model, for a token."""
    return 2 * sizes.n_kv_heads * sizes.head_dim


def float_chunk(sizes: Sizes, vectors: int) -> int:
    """Values per vector of the float model's matrix of scores."""
    return sizes.n_heads * vectors
