"""Memory that the kernels walk through: aligned, and in large pages where the system has them."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINE", "Arena", "aligned"]

LARGE = 1 << 21  # bytes of a large page
CHUNK = 64 << 20  # bytes that are asked for at once, at least
LINE = 64  # bytes of a cache line


class Arena:
    """Arrays side by side in large pages, all zeros; they are freed together.

    Parameters
    ----------
    chunk : int
        Bytes to ask the system for at once; what is never written costs nothing.
    """

    def __init__(self, chunk: int = CHUNK) -> None:
        self._chunk, self._free = chunk, np.empty(0, dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of zeros that begins at a multiple of 64 bytes."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > len(self._free):
            self._free = _pages(max(size, self._chunk))
        out: NDArray[Any] = self._free[:size].view(dtype).reshape(shape)
        self._free = self._free[-(-size // LINE) * LINE :]
        return out


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array without contents that begins at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    out: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return out


def _pages(size: int) -> NDArray[np.uint8]:
    """Fresh memory from a large page's edge on."""
    block = mmap.mmap(-1, size + LARGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(block, dtype=np.uint8)
    start = -raw.ctypes.data % LARGE
    return raw[start : start + size]
