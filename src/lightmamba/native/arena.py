"""Memory that the kernels walk through, which begins at a cache line.

It comes from numpy, which asks Linux for large pages for large arrays, and like all of numpy's it
is private: a child of fork has a copy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINE", "Arena", "aligned"]

CHUNK = 64 << 20  # bytes that are asked for at once, at least
LINE = 64  # bytes of a cache line


class Arena:
    """Arrays next to each other, all zeros; they are freed together.

    What is never written costs nothing.
    """

    def __init__(self) -> None:
        self._free = aligned((0,), np.uint8)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of zeros that begins at a multiple of 64 bytes."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > len(self._free):
            self._free = aligned((max(size, CHUNK),), np.uint8)
        out: NDArray[Any] = self._free[:size].view(dtype).reshape(shape)
        self._free = self._free[-(-size // LINE) * LINE :]
        return out


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of zeros of its own that begins at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    out: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return out
