"""Files of which one process at a time is the owner: journals, results, what is being built.

The lock is the system's (``flock``): it ends with its process, however that ends, so nothing has
to be cleaned up after a crash.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from lightmamba.common.errors import InputError

__all__ = ["Owner", "append", "held", "take", "take_aside"]


class Owner:
    """An object that owns a file until it is closed, at the latest at the end of a ``with`` block.

    A subclass sets ``_file`` to what :func:`take` returned.
    """

    _file: int

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def take(path: Path, *, wait: bool = False) -> int:
    """Open a file for reading and appending, and lock it until it is closed.

    The lock belongs to the file that has this path when the function returns: one that its last
    owner removed in the meantime is not taken.

    Parameters
    ----------
    path : Path
        Made if there is none; its folder must exist.
    wait : bool
        Wait for another owner to close the file, instead of raising.

    Returns
    -------
    int
        File descriptor; :func:`os.close` gives the lock back.

    Raises
    ------
    BlockingIOError
        If the file has an owner, this process or another one.
    OSError
        If it cannot be opened or locked.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _has_path(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def take_aside(path: Path) -> tuple[int, Path]:
    """Open an empty file that is to take the place of ``path``, and lock it.

    It is hidden, in the same folder. What a killed process left there is written over.

    Raises
    ------
    InputError
        If another process writes it.
    OSError
        If it cannot be opened or locked.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        file = take(aside)
    except BlockingIOError as error:
        raise InputError(f"{path} is being written by another process; wait for it") from error
    try:
        os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file, aside


def append(file: int, line: bytes) -> None:
    """Add a line to a file that :func:`take` opened, whole or not at all, and wait for the disk.

    Raises
    ------
    OSError
        If there is no room for it; the file is as it was before.
    """
    size = os.fstat(file).st_size
    try:
        if os.write(file, line) != len(line):
            raise OSError(errno.ENOSPC, "the disk is full")
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock for a block of code, waiting for it first; its file is removed afterwards.

    Raises
    ------
    OSError
        If the file cannot be opened, locked or removed.
    """
    file = take(path, wait=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _has_path(file: int, path: Path) -> bool:
    """Whether an open file still has its path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
