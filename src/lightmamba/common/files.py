"""Files, arrays and folders that the project wrote: hashed, and replaced in one step."""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.common.tools import cache_folder

__all__ = [
    "SHA256", "Written", "aside", "check_folder", "check_output", "check_replaced", "code_hash",
    "intact", "interrupted", "refuse_gguf", "replace_file", "replace_folder", "sha256_of",
    "sha256_of_arrays",
]  # fmt: skip

SHA256 = re.compile(r"[0-9a-f]{64}")  # a hash as it is written
CACHE = "checked"  # folder in the user's cache: an empty file for each file that was found right
REMEMBERED = 30 * 24 * 3600  # seconds after which a file is hashed again
SETTLED = 1.0  # seconds without a change, before which a file's times say too little
OLD = "old"  # name of a folder that is being replaced, in a hidden folder next to it
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


def check_output(path: Path, *, force: bool) -> None:
    """Make sure before the work that a file can be written, and that nothing is lost by it.

    Raises
    ------
    InputError
        If it exists and ``force`` is not given, is a folder, or its folder is missing or closed.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {path.parent} for {path.name}; make it, or give another"
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file, such as {path / 'out'}")
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another name, or --force to replace it")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"cannot write into {folder}: {error.strerror}; give another place"
        ) from error


def check_folder(folder: Path, ours: Collection[str], what: str, flag: str) -> None:
    """Refuse a folder that holds anything but results of before.

    Parameters
    ----------
    folder
        To be made, or with the results of an earlier run.
    ours
        Names of files, one of which is there after an earlier run.
    what, flag
        Name of the results, and option of the command line that gives the folder.

    Raises
    ------
    InputError
        One sentence.
    """
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent} to make {folder.name} in; make it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder, such as {flag} {what}")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not any((folder / name).is_file() for name in ours)
    ):
        raise InputError(f"{folder} holds other things than a {what}; give a new folder")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_hash() -> str:
    """Hash of this package's source, 12 hexadecimal digits."""
    root = Path(__file__).parents[1]  # of the package
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def sha256_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of arrays in the order of their names, with names, types and shapes."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def intact(
    path: Path, sha256: str, digest: Callable[[Path], str] = sha256_of, *, again: bool = False
) -> bool:
    """Whether a file has a hash.

    A file that had it is not read again for :data:`REMEMBERED` seconds, as long as device, inode,
    size and the times of its last changes are the same.

    Parameters
    ----------
    path
        The file.
    sha256
        Its hash.
    digest
        Computes the hash.
    again
        Read the file whatever was found before.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    before = _identity(path)
    name = hashlib.sha256(repr((before, sha256)).encode()).hexdigest()
    mark = cache_folder(CACHE) / name
    if not again and _age(mark) < REMEMBERED:
        return True
    right = digest(path) == sha256
    with contextlib.suppress(OSError):  # of a cache that cannot be written
        if not right:
            mark.unlink(missing_ok=True)
        elif before == _identity(path) and time.time_ns() - max(before[3:]) > SETTLED * 1e9:
            _forget_old(mark.parent)
            mark.touch()
    return right


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Written:
    """Whether a file was written into since this was made, by device, inode, size and time.

    The file stays open: another one that takes its name does not count.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path.open("rb")
        self._before = self._identity()

    def _identity(self) -> tuple[int, ...]:
        found = os.fstat(self._file.fileno())
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def __bool__(self) -> bool:
        return self._identity() != self._before


def _age(mark: Path) -> float:
    """Seconds since a file was found right; endless if it never was."""
    try:
        return abs(time.time() - mark.stat().st_mtime)
    except OSError:
        return float("inf")


@functools.cache
def _forget_old(folder: Path) -> None:
    """Delete marks that no longer count, once in a process."""
    for mark in folder.iterdir():
        if _age(mark) >= REMEMBERED:
            mark.unlink(missing_ok=True)


def replace_file(aside: Path, path: Path) -> None:
    """Put the file ``aside`` at ``path``; all of it is on disk before it has that name.

    Raises
    ------
    OSError
        If it cannot be synced or renamed; what was at ``path`` is still there.
    """
    handle = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    aside.replace(path)


def check_replaced(path: Path, mark: str, what: str, *, force: bool) -> None:
    """Make sure before the work that a folder can be made, and that nothing else is lost by it.

    Raises
    ------
    InputError
        If it exists and ``force`` is not given, lacks the file ``mark``, which makes it a ``what``,
        or has no folder to be made in.
    """
    if path.exists() and not (path / mark).is_file():
        raise InputError(f"{path} exists and is no {what}; give another name")
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another name, or --force to replace it")
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"there is no folder {path.parent} to write {path.name} into; make it, or give another"
        )


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """New hidden folder next to ``path``, for :func:`replace_folder`; without that nothing stays.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    parent = path.absolute().parent
    try:
        made = Path(tempfile.mkdtemp(dir=parent, prefix=f".{path.name}."))
    except OSError as error:
        raise InputError(
            f"cannot write into {parent}: {error.strerror}; give another place"
        ) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def replace_folder(aside: Path, path: Path) -> None:
    """Put the folder ``aside`` at ``path`` and delete what was there; both are in one folder.

    On Linux the two are exchanged in one step, so that there is a whole folder at ``path`` at every
    moment. Where that is not possible there is a moment without one; :func:`interrupted` finds the
    old folder if the program ends just then.

    Raises
    ------
    OSError
        If a folder cannot be renamed; the old one is then still in its place.
    """
    if not path.exists():
        aside.replace(path)
        return
    if not _exchange(aside, path):
        hidden = Path(tempfile.mkdtemp(dir=aside.parent, prefix=f".{path.name}."))
        path.replace(hidden / OLD)
        try:
            aside.replace(path)
        except OSError:
            (hidden / OLD).replace(path)
            hidden.rmdir()
            raise
        aside = hidden
    if aside.is_symlink():  # the old one was a link to a folder, which stays
        aside.unlink()
    else:
        shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; whether system and file system could."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(call(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)


def interrupted(path: Path) -> str:
    """End of a sentence about a folder that is missing: where :func:`replace_folder` left it."""
    found = sorted(path.absolute().parent.glob(f".{path.name}.*/{OLD}")) if path.name else []
    if path.exists() or not found:
        return ""
    return f"; replacing it was interrupted, and the folder from before is {found[-1]}"


def refuse_gguf(path: Path) -> None:
    """Refuse a file of llama.cpp by its own name.

    Raises
    ------
    InputError
        If it is one.
    """
    with path.open("rb") as file:
        if file.read(4) == b"GGUF":
            raise InputError(
                f"{path} is a GGUF file (llama.cpp), which LightMamba cannot read; quantize the "
                f"original checkpoint instead: lightmamba quantize FOLDER -o m.safetensors"
            )
