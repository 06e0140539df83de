"""Compile the very functions of ``numerics/`` for single numbers, so the arithmetic is said once."""

import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config

__all__ = ["kernel", "scalar"]

_SOURCES = Path(__file__).parent.parent / "numerics"


def _fingerprint() -> str:
    """Hash of all that a compiled kernel contains: a changed source never meets a stale cache."""
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted([*_SOURCES.glob("*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


config.CACHE_DIR = str(Path.home() / ".cache" / "lightmamba" / "kernels" / _fingerprint())
_compiled: dict[Callable[..., Any], Any] = {}


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


kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
