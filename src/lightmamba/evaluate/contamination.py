"""Refusing to evaluate a model on the text that it was calibrated on."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.numerics.windows import WINDOW, hash_windows

__all__ = ["OVERLAP_LIMIT", "check_overlap", "overlap"]

OVERLAP_LIMIT = 0.01  # share of the evaluated text
PART = 1 << 16  # windows whose hashes are held together


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
    covered, last = 0, -WINDOW
    for start in range(0, len(text) - WINDOW + 1, PART):
        part = text[start : start + PART + WINDOW - 1]
        found = np.isin(hash_windows(part, range(len(part) - WINDOW + 1)), hashes)
        places = start + np.flatnonzero(found)
        if places.size:
            covered += int(np.diff(places, prepend=last).clip(max=WINDOW).sum())
            last = int(places[-1])
    return covered / len(text)


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
