"""Hashes of token windows: how a quantized file remembers what it was calibrated on.

A window is ``WINDOW`` consecutive token ids. Its hash is BLAKE2b with a digest of 8 bytes over the
ids as little-endian uint32, read as a little-endian uint64. The calibrated side keeps one window in
``WINDOW`` (a quarter of a byte per token), the evaluated side looks at every position; so a copied
run of ``2 * WINDOW - 1`` tokens is always found, wherever it lies in either text.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["WINDOW", "hash_windows", "window_hashes"]

WINDOW = 32  # token ids per window


def hash_windows(ids: NDArray[np.integer], starts: Iterable[int]) -> NDArray[np.uint64]:
    """Hash the windows of a sequence that begin at ``starts``.

    Parameters
    ----------
    ids : (seqlen,) integers in 0..2**32 - 1
        Token ids.
    starts : integers in 0..seqlen - WINDOW
        First position of each window.

    Returns
    -------
    (len(starts),) uint64, in the order of ``starts``.

    Raises
    ------
    ValueError
        If ``ids`` is not one sequence of such integers, or a window leaves it.
    """
    raw = _as_bytes(ids)
    digests = []
    for start in starts:
        if not 0 <= start <= len(ids) - WINDOW:
            raise ValueError(f"no window of {WINDOW} ids begins at {start} of {len(ids)}")
        window = raw[4 * start : 4 * (start + WINDOW)]
        digests.append(blake2b(window, digest_size=8).digest())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def window_hashes(ids: ArrayLike) -> NDArray[np.uint64]:
    """Hash a calibration text: every ``WINDOW``-th window, and the one that ends it.

    Parameters
    ----------
    ids : (seqlen,) or (sequences, seqlen) integers in 0..2**32 - 1
        Token ids; windows do not run from one sequence into the next.

    Returns
    -------
    (windows,) uint64, sorted, each once; empty where sequences are shorter than a window.

    Raises
    ------
    ValueError
        If ``ids`` has another shape or other values.
    """
    sequences = np.asarray(ids)
    if sequences.ndim not in (1, 2):
        raise ValueError(f"ids must be one sequence or rows of them, not {sequences.ndim}-d")
    seqlen = sequences.shape[-1]
    starts = list(range(0, seqlen - WINDOW + 1, WINDOW))
    if starts and starts[-1] != seqlen - WINDOW:
        starts.append(seqlen - WINDOW)
    hashes = [hash_windows(row, starts) for row in np.atleast_2d(sequences)]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))


def _as_bytes(ids: NDArray[np.integer]) -> memoryview:
    if ids.ndim != 1:
        raise ValueError(f"ids must be one sequence, not of shape {ids.shape}")
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids must be integers, not {ids.dtype}")
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < 2**32:
        raise ValueError("ids must be in 0..2**32 - 1")
    return memoryview(ids.astype("<u4").tobytes())
