"""Log-probabilities of tokens under a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Score", "scores"]


@dataclass(frozen=True)
class Score:
    """Log-probability of a token, and the most likely ones at its position.

    Parameters
    ----------
    token_id : int
    logprob : float or None
        Natural logarithm of its probability, before penalties, temperature and filters; None for
        the first token of a text, which follows nothing.
    top : tuple of (int, float)
        Ids and log-probabilities, most likely first; of equal ones the lowest id first.
    """

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


def scores(
    logits: NDArray[np.integer[Any]], exponent: int, token_ids: Sequence[int], top: int
) -> list[Score]:
    """Score tokens by the logits of their positions.

    Parameters
    ----------
    logits : (n, valid_vocab) integers
        In units of ``2**exponent``, within int32.
    exponent : int
        Not above 0.
    token_ids : (n,) int
        The tokens that came.
    top : int
        How many of the most likely tokens to give.
    """
    whole = logits.astype(np.int64)
    nats = (whole - whole.max(axis=1, keepdims=True)) * 2.0**exponent  # exact in float64
    totals = np.log(np.exp(nats).sum(axis=1))
    best: list[list[int]] = [[] for _ in token_ids]
    if count := min(top, whole.shape[1]):
        # One integer for logit and id, all different: equal logits in the order of their ids.
        order = np.arange(whole.shape[1]) - (whole << 31)
        some = np.argpartition(order, count - 1, axis=1)[:, :count]
        sorting = np.argsort(np.take_along_axis(order, some, axis=1), axis=1)
        best = np.take_along_axis(some, sorting, axis=1).tolist()
    return [
        Score(token, float(row[token] - total), tuple((i, float(row[i] - total)) for i in ids))
        for token, row, total, ids in zip(token_ids, nats, totals, best, strict=True)
    ]
