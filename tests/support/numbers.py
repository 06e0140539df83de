"""Random integers in which every magnitude and the ends of the range are likely."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["spread"]


def spread(rng: np.random.Generator, bits: int, size: Any) -> NDArray[np.int64]:
    """Signed values of ``bits`` bits: of any magnitude, and one in eight an end of the range."""
    top = 1 << (bits - 1)
    value = rng.integers(-top, top, size) >> rng.integers(0, bits, size)
    end = rng.choice(np.array([-top, top - 1]), size)
    kept: NDArray[np.int64] = np.where(rng.random(size) < 0.125, end, value)
    return kept
