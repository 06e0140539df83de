"""Refusing to evaluate a model on the text that it was calibrated on."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.errors import InputError
from lightmamba.numerics.windows import WINDOW, hash_windows

__all__ = ["OVERLAP_LIMIT", "check_overlap", "overlap"]

OVERLAP_LIMIT = 0.01  # share of the evaluated text


def overlap(ids: ArrayLike, hashes: NDArray[np.uint64]) -> float:
    """Measure the share of a text that was calibrated on.

    Every window of the text is looked up among the hashes that
    :func:`lightmamba.numerics.windows.window_hashes` made of the calibration text; the share is
    that of the tokens that lie in a window found. Since the calibration text keeps one window in
    ``WINDOW``, a copied run loses up to ``WINDOW - 1`` tokens at each of its ends.

    Parameters
    ----------
    ids : (seqlen,) integers
        The evaluated text, in the ids of the calibration text. Shorter than a window: share 0.
    hashes : (windows,) uint64
        Of the calibration text.

    Returns
    -------
    float in 0..1
    """
    text = np.asarray(ids)
    if len(text) < WINDOW:
        return 0.0
    found = np.isin(hash_windows(text, range(len(text) - WINDOW + 1)), hashes)
    edges = np.zeros(len(text) + 1, np.int64)
    edges[: len(found)] += found
    edges[WINDOW : WINDOW + len(found)] -= found
    return float((edges.cumsum()[:-1] > 0).mean())


def check_overlap(ids: ArrayLike, hashes: NDArray[np.uint64], *, allow: bool = False) -> float:
    """Return the overlap of a text with the calibration text, and refuse more than 1 %.

    Parameters
    ----------
    ids, hashes
        As in :func:`overlap`.
    allow : bool
        Do not refuse; whoever reports the result marks it with the share returned.

    Raises
    ------
    InputError
        If more than ``OVERLAP_LIMIT`` of the text occurs in the calibration text.
    """
    share = overlap(ids, hashes)
    if share > OVERLAP_LIMIT and not allow:
        raise InputError(
            f"{share:.1%} of the evaluated text occurs in the text that the model was calibrated "
            f"on, and at most {OVERLAP_LIMIT:.0%} may; evaluate on another text, or pass "
            f"--allow-overlap to have the result marked"
        )
    return share
