"""Compile the loops of the estimate, and keep what was compiled for the next process."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from lightmamba.tools import cache_folder, drop_unused, is_cached

__all__ = ["kernel"]

_PACKAGE = Path(__file__).parent.parent
# Files whose constants and functions are compiled.
_SOURCES = "arch/*.py", "machine/*.py", "estimate/*.py", "blocks/*/hardware.py"


def _fingerprint() -> str:
    """Hash of all that a compiled kernel contains: a changed source never meets a stale cache."""
    digest = hashlib.sha256(numba.__version__.encode())
    for file in (file for each in _SOURCES for file in sorted(_PACKAGE.glob(each))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _cache_folder() -> str:
    """Folder of these sources' kernels; those of other sources go a month after their last use."""
    folder = cache_folder("kernels") / _fingerprint()
    if not is_cached(folder):
        folder.mkdir(exist_ok=True)
    drop_unused(folder.parent, "[0-9a-f]{16}")
    return str(folder)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function, and keep the result; numba's own settings stay as they are."""
    settings = vars(numba.config)
    before, settings["CACHE_DIR"] = settings["CACHE_DIR"], _cache_folder()
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    finally:
        settings["CACHE_DIR"] = before
