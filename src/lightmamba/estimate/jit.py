"""Compile the loops of the estimate, and keep what was compiled for the next process."""

import hashlib
import os
import tempfile
from pathlib import Path

import numba

__all__ = ["kernel"]

_PACKAGE = Path(__file__).parent.parent
_SOURCES = ("estimate",)  # folders whose functions are compiled


def _fingerprint() -> str:
    """Hash of all that a compiled kernel contains: a changed source never meets a stale cache."""
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in _SOURCES:
        for file in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    """Folder for compiled kernels: under the home, or a temporary one where that is closed."""
    folder = Path.home() / ".cache" / "lightmamba" / "kernels" / _fingerprint()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lightmamba-kernels-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp())


vars(numba.config)["CACHE_DIR"] = str(_cache_folder())
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
