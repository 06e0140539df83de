"""Log-probabilities of tokens under a model, for those who ask what else it might have said."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """Log-probability of a token, and the likeliest ones in its place.

    Parameters
    ----------
    token_id : int
    logprob : float or None
        Natural logarithm of its probability, before penalties, temperature and filters; None for
        the first token of a text, which follows nothing.
    top : tuple of (int, float)
        Ids and log-probabilities, likeliest first; of equal ones the lowest id first.
    """

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


def score(logits: NDArray[np.integer[Any]], exponent: int, token_id: int, top: int) -> Score:
    """Score a token by the logits of its place.

    Parameters
    ----------
    logits : (valid_vocab,) integers
        In units of ``2**exponent``.
    exponent : int
        Not above 0.
    token_id : int
        The token that came.
    top : int
        How many of the likeliest tokens to give.
    """
    nats = (logits - logits.max().astype(np.int64)) * 2.0**exponent  # exact in float64
    total = float(np.log(np.exp(nats).sum()))
    # An integer for logit and id, so that a partition finds the best in order: equal ones by id.
    order = (logits.astype(np.int64) + 1 << 31) - np.arange(len(logits))
    count = min(top, len(logits))
    best = np.argpartition(-order, count - 1)[:count] if count else np.empty(0, np.intp)
    best = best[np.argsort(-order[best])]
    found = tuple((int(i), float(nats[i]) - total) for i in best)
    return Score(token_id, float(nats[token_id]) - total, found)
