"""Compile the functions of ``numerics/`` for single numbers, so the arithmetic is said once.

Beside them: operations on 32-bit lanes, because numba itself widens every integer to 64 bits.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import types as numba_types
from numba.extending import intrinsic

from lightmamba.numerics import primitives
from lightmamba.tools import cache_folder

__all__ = ["add32", "and32", "kernel", "max32", "min32", "mul32", "sar32", "scalar", "shl32"]

_PACKAGE = Path(__file__).parent.parent
_SOURCES = ("numerics", "engine", "estimate")  # folders whose functions are compiled
KEPT_S = 30 * 24 * 3600


def _fingerprint() -> str:
    """Hash of all that a compiled kernel contains: a changed source never meets a stale cache."""
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in _SOURCES:
        for file in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _cache_folder() -> str:
    """Folder of these sources' kernels; those of other sources go a month after their last use."""
    folder = cache_folder("kernels") / _fingerprint()
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    with contextlib.suppress(OSError):  # another process may do the same
        for other in folder.parent.iterdir():
            if time.time() - other.stat().st_mtime > KEPT_S:
                shutil.rmtree(other, ignore_errors=True)
    return str(folder)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function, and keep the result; numba's own settings stay as they are."""
    settings = vars(numba.config)
    before, settings["CACHE_DIR"] = settings["CACHE_DIR"], _cache_folder()
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    finally:
        settings["CACHE_DIR"] = before


def _lanes(build: Callable[[Any, Any, Any], Any], name: str) -> Any:
    """Two int32 in, one out, wrapping: what a vector unit does 16 at a time."""

    def typed(typing: Any, a: Any, b: Any) -> Any:
        int32 = numba_types.int32
        return int32(int32, int32), lambda context, builder, sig, args: build(builder, *args)

    typed.__name__ = name
    return intrinsic(typed)


add32 = _lanes(lambda b, x, y: b.add(x, y), "add32")
mul32 = _lanes(lambda b, x, y: b.mul(x, y), "mul32")
and32 = _lanes(lambda b, x, y: b.and_(x, y), "and32")
shl32 = _lanes(lambda b, x, y: b.shl(x, y), "shl32")
sar32 = _lanes(lambda b, x, y: b.ashr(x, y), "sar32")
max32 = _lanes(lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y), "max32")
min32 = _lanes(lambda b, x, y: b.select(b.icmp_signed("<", x, y), x, y), "min32")


@intrinsic
def _bit_length(typing: Any, x: Any) -> Any:
    """:func:`lightmamba.numerics.primitives.bit_length` as one machine instruction."""
    int64 = numba_types.int64

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], context.get_constant(numba_types.boolean, False))
        return builder.sub(context.get_constant(int64, 64), zeros)

    return int64(int64), build


_compiled: dict[Callable[..., Any], Any] = {primitives.bit_length: _bit_length}


def scalar(function: Callable[..., Any]) -> Any:
    """Compile a function of ``numerics/``, and those that it calls, for single integers."""
    if function not in _compiled:
        scope = dict(function.__globals__)
        for name in function.__code__.co_names:
            called = scope.get(name)
            if isinstance(called, types.FunctionType) and "numerics" in called.__module__:
                scope[name] = scalar(called)
        copy = types.FunctionType(function.__code__, scope, function.__name__)
        _compiled[function] = numba.njit(copy, error_model="numpy", inline="never")
    return _compiled[function]
