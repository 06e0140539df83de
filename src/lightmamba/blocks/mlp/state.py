"""An MLP leaves nothing behind."""

from typing import Any

from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.numerics.model_formats import Formats

__all__ = ["bytes_per_token", "float_chunk", "float_values", "state"]


def state(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of each array of one sequence: none."""
    return {}


def bytes_per_token(sizes: Sizes, formats: Formats) -> dict[str, int]:
    """Bytes that a decoder must move besides weights: none."""
    return {}


def float_values(sizes: Sizes) -> int:
    """Values of the state of a sequence in the float model: none."""
    return 0


def float_chunk(sizes: Sizes, vectors: int) -> int:
    """Values per vector of the float model besides the projections': none."""
    return 0
