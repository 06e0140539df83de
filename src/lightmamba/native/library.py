"""Find the libraries, one per instruction set, and open each once per process and pool size."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.forks import ForkLock
from lightmamba.native.isas import isas
from lightmamba.native.structs import shared, squeezed

__all__ = [
    "ISAS", "Context", "available", "best_isa", "chosen", "context", "kernels", "usable_isas",
]  # fmt: skip

CHOICE = "LIGHTMAMBA_ISA"  # variable of the environment that chooses one of them
NO_MEMORY = 1  # of the statuses in api.cpp
ISAS = tuple(isas())  # each includes those before it


def _path(isa: str) -> Path:
    return Path(__file__).with_name(f"_{isa}.so")


@lru_cache
def _library(isa: str) -> Any:
    library = ctypes.CDLL(str(_path(isa)))
    library.lightmamba_open.restype = ctypes.c_void_p
    if _shared(library) != shared():
        raise InputError(
            f"the kernels in {_path(isa)} were built from other sources than this program; build "
            f"them again: make setup in a clone, or pip install ."
        )
    library.lightmamba_error.restype = ctypes.c_char_p
    return library


def _shared(library: Any) -> list[str]:
    """The declarations that a library was compiled from, squeezed."""
    text = getattr(library, "lightmamba_shared", None)
    if text is None:
        return []
    text.restype = ctypes.c_char_p
    found: list[str] = []
    while (one := text(len(found))) is not None:
        found.append(squeezed(one.decode()))
    return found


def kernels(isa: str) -> Any:
    """A library, opened; None, where it was not built."""
    return _library(isa) if _path(isa).is_file() else None


def available() -> bool:
    """Tell whether the libraries were built."""
    return _path("portable").is_file()


def usable_isas() -> tuple[str, ...]:
    """The instruction sets that were built and that this processor runs, the best last."""
    best = _library("portable").lightmamba_best_isa() if available() else -1
    return tuple(isa for isa in ISAS[: best + 1] if _path(isa).is_file())


def best_isa() -> str:
    """The best of :func:`usable_isas`."""
    return usable_isas()[-1]


@contextmanager
def chosen(isa: str | None) -> Iterator[None]:
    """Let this process and those that it starts use an instruction set, where none is named.

    Raises
    ------
    InputError
        If this processor does not have it, or it was not built.
    """
    before = os.environ.get(CHOICE)
    if isa is not None:
        _check(isa)
        os.environ[CHOICE] = isa
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(CHOICE, None)
        else:
            os.environ[CHOICE] = before


def _check(isa: str) -> None:
    if isa not in usable_isas():
        usable = ", ".join(usable_isas()) or "none"
        raise InputError(f"there are no {isa} kernels for this processor; there are: {usable}")


class Context:
    """The kernels of one instruction set and a pool of threads that stay.

    One call runs at a time; others wait. While a call runs, other Python threads go on.
    """

    def __init__(self, isa: str, threads: int) -> None:
        self.isa, self.threads = isa, threads
        self._library = _library(isa)
        self._lock = ForkLock()
        self._open()

    def _open(self) -> None:
        handle = self._library.lightmamba_open(self.threads)
        if handle is None:
            raise InputError(f"the system gives no {self.threads} threads; try --threads 2")
        self._handle, self._process = ctypes.c_void_p(handle), os.getpid()

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``lightmamba_<name>`` with structs by reference and whole numbers as int64.

        Raises
        ------
        MemoryError
            If its threads get no memory.
        RuntimeError
            If it failed otherwise; what it works on is then in no defined state.
        """
        given = [_given(argument) for argument in arguments]
        with self._lock:
            if self._process != os.getpid():  # a child of fork has none of the threads
                self._open()
            status = self._library[f"lightmamba_{name}"](self._handle, *given)
            if status == NO_MEMORY:
                raise MemoryError(f"the kernels got no memory for {name}")
            if status:
                reason = self._library.lightmamba_error(self._handle).decode(errors="replace")
                raise RuntimeError(f"the kernels failed in {name}: {reason}")


def _given(argument: Any) -> Any:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.byref(argument) if isinstance(argument, ctypes.Structure) else argument


@lru_cache
def _context(process: int, isa: str, threads: int) -> Context:
    return Context(isa, threads)


def context(isa: str | None, threads: int) -> Context:
    """The context of this process for an instruction set and threads.

    Without one it is that of ``LIGHTMAMBA_ISA`` in the environment, or the best.

    Raises
    ------
    InputError
        If this processor does not have it, or it was not built.
    """
    name = isa or os.environ.get(CHOICE) or best_isa()
    _check(name)
    return _context(os.getpid(), name, threads)
