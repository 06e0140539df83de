"""Texts and token ids from the files that a user names."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import InputError

__all__ = ["read_ids", "read_text"]


def read_text(path: Path) -> str:
    """Read UTF-8 text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as UTF-8 text: {error}") from error


def read_ids(path: Path, valid_vocab: int) -> NDArray[np.int64]:
    """Read whitespace-separated token ids."""
    words = read_text(path).split()
    bad = next((w for w in words if not w.isdigit() or int(w) >= valid_vocab), None)
    if bad is not None or not words:
        wrong = f"{bad!r} is none" if words else "there are none"
        raise InputError(f"{path} must hold token ids 0..{valid_vocab - 1} like '1 2 3'; {wrong}")
    return np.array(words, dtype=np.int64)
