"""State of a sequence in an average: the values of every token."""

from typing import Any

import numpy as np

from lightmamba.numerics.model_formats import Formats

from .sizes import Sizes

__all__ = ["bytes_per_token", "state", "tokens"]


def state(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of each array of one sequence that does not grow: none."""
    return {}


def tokens(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of what every token adds."""
    return {"values": (np.int16, (sizes.channels,))}


def bytes_per_token(sizes: Sizes, formats: Formats) -> dict[str, int]:
    """Bytes written per token; reads grow with the context: as much for each token before."""
    return {"values": 2 * sizes.channels}
