"""Files of a run: vectors of all calibration tokens, and finished parts.

Vectors lie in memory or in a file, and are read and written a few at a time.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, Table

__all__ = ["Part", "Picked", "Rows", "Run", "on_disk"]

Part = Table | QuantizedLayer | QuantizedLinear


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Say in one sentence that a file of a run could not be written or read, and what to do.

    A store of records says it of its own file in other words.
    """
    try:
        yield
    except (OSError, InputError) as said:
        error = said if isinstance(said, OSError) else said.__cause__
        if not isinstance(error, OSError) or isinstance(error, BlockingIOError):
            raise
        what = f"{error.strerror or error}; mend that"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the disk is full; make room"
        raise InputError(f"{path}: {what}, then start again: finished layers are kept") from error


class Rows:
    """Array (vectors, channels) that need not lie in memory.

    Parameters
    ----------
    vectors, channels : int
    dtype
        Of an element.
    path : Path or None
        The file that holds it, opened as it is or made; None keeps it in memory. Reading a file
        costs a copy out of the system's cache, which takes its memory back when it needs it.

    Raises
    ------
    InputError
        If the disk is full, or the file is of another size.
    """

    def __init__(self, vectors: int, channels: int, dtype: Any, path: Path | None = None) -> None:
        self.shape, self.dtype, self.path = (vectors, channels), np.dtype(dtype), path
        self._file = -1
        if path is None:
            self._memory = np.zeros(self.shape, self.dtype)
            return
        size = vectors * channels * self.dtype.itemsize
        with on_disk(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._file, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file, 0, size)  # a full disk shows now

    def __del__(self) -> None:
        if self._file >= 0:  # what is there is kept
            os.close(self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: slice) -> NDArray[Any]:
        """Copy of some rows, in order and without gaps."""
        start, stop, _ = rows.indices(len(self))
        if self.path is None:
            return self._memory[start:stop].copy()
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        view, at = memoryview(out.data).cast("B"), start * self.shape[1] * self.dtype.itemsize
        while len(view):
            with on_disk(self.path):
                got = os.preadv(self._file, [view], at)
            if got == 0:
                raise InputError(f"{self.path} is cut short; delete its folder and start again")
            view, at = view[got:], at + got
        return out

    def write(self, rows: slice, value: NDArray[Any]) -> None:
        """Replace some rows, in order and without gaps."""
        start, stop, _ = rows.indices(len(self))
        if self.path is None:
            self._memory[start:stop] = value
            return
        data = np.ascontiguousarray(value, self.dtype).reshape(stop - start, self.shape[1])
        view, at = memoryview(data.data).cast("B"), start * self.shape[1] * self.dtype.itemsize
        while len(view):
            with on_disk(self.path):
                put = os.pwrite(self._file, view, at)
            view, at = view[put:], at + put

    def sync(self) -> None:
        """Wait until the disk has everything."""
        if self.path is not None:
            with on_disk(self.path):
                os.fsync(self._file)

    def close(self, *, remove: bool = False) -> None:
        """Give memory or file back."""
        if self.path is None:
            self._memory = np.zeros((0, 0), self.dtype)
        elif self._file >= 0:
            os.close(self._file)
            self._file = -1
            if remove:
                self.path.unlink(missing_ok=True)


class Picked:
    """Some vectors of rows, by their ascending numbers."""

    def __init__(self, rows: Rows, vectors: NDArray[np.int64]) -> None:
        self._rows, self._vectors = rows, vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def read(self, rows: slice) -> NDArray[Any]:
        """Copy of some of them."""
        wanted = self._vectors[rows]
        if not len(wanted):
            return self._rows.read(slice(0, 0))
        first, last = int(wanted[0]), int(wanted[-1])
        picked: NDArray[Any] = self._rows.read(slice(first, last + 1))[wanted - first]
        return picked


class Run:
    """Finished parts and the two residual streams of one run; there is nothing to resume.

    :class:`~lightmamba.quantization.journal.Journal` keeps them on disk.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}  # what was written down last
        self._parts: dict[str, Part] = {}

    def rows(self, name: str, vectors: int, channels: int, dtype: Any) -> Rows:
        """A stream of this name, with what it held when it was written down, if it was."""
        return Rows(vectors, channels, dtype)

    def drop(self, rows: Rows) -> None:
        """Give a stream back that the run has no more use for."""
        rows.close()

    def put(self, name: str, part: Part) -> None:
        """Keep a finished part."""
        self._parts[name] = part

    def get(self, name: str) -> Any:
        """A finished part."""
        return self._parts[name]

    def commit(self, facts: dict[str, Any], *streams: Rows) -> None:
        """Write down how far the run has come; ``streams`` are where it goes on from."""
        self.facts = facts

    def layers(self, count: int) -> Sequence[QuantizedLayer]:
        """All layers."""
        return tuple(self.get(f"layers.{i}") for i in range(count))
