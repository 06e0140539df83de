"""Log-probabilities from logits, a few rows at a time, in float64.

Logits stay as the model gives them, integers of the engine or floats. Of a row only what is asked
for leaves the cache: the log-probability of the token that came, the likeliest id, a divergence.
Differences of integer logits and their unit, a power of two, are exact in float64.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.evaluate.model import LanguageModel, Logits

__all__ = ["Likelihoods", "Paired", "likelihoods", "paired"]

IN_CACHE = 1 << 16  # logits that are worked on together: half a MiB in float64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Log-likelihoods of some tokens under a model.

    Attributes
    ----------
    nll : (n,) float64
        Negative log-likelihood in nats of each token that came.
    likeliest : (n,) int64
        The id that the model found most likely there (the lowest of equal ones).
    """

    nll: Floats
    likeliest: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Paired:
    """Log-likelihoods of the same tokens under a model and its reference.

    Attributes
    ----------
    model, reference : Likelihoods
    kl : (n,) float64
        KL(reference ‖ model) of the two distributions in nats; an id that the reference finds
        impossible adds nothing.
    """

    model: Likelihoods
    reference: Likelihoods
    kl: Floats


def likelihoods(
    model: LanguageModel,
    logits: Logits,
    targets: NDArray[np.integer[Any]],
    rows: NDArray[np.intp] | None = None,
    *,
    threads: int = 1,
) -> Likelihoods:
    """Score the tokens that came.

    The probabilities of the valid ids sum to one: the padding of the vocabulary takes no share.

    Parameters
    ----------
    model : LanguageModel
        That gave the logits.
    logits : (n, vocab_size)
        As it gave them.
    targets : (n,) integers, or one for each of ``rows``
        What came.
    rows : (m,) integers, optional
        Rows of ``logits`` that are looked at; all by default.
    threads : int
        Share the rows.
    """
    out = Likelihoods(np.empty(len(targets)), np.empty(len(targets), np.int64))

    def run(part: slice) -> None:
        shifted, out.likeliest[part] = _shifted(model, logits, part if rows is None else rows[part])
        came = _pick(shifted, targets[part])
        out.nll[part] = _log_sum(np.exp(shifted, out=shifted)) - came

    _share(run, len(targets), model.valid_vocab, threads)
    return out


def paired(
    models: tuple[LanguageModel, LanguageModel],
    logits: tuple[Logits, Logits],
    targets: NDArray[np.integer[Any]],
    *,
    threads: int = 1,
) -> Paired:
    """Score the tokens that came by a model and by its reference, and how far these are apart.

    Parameters
    ----------
    models
        The model and its reference, of the same valid ids.
    logits : two arrays (n, vocab_size)
        Of the one and of the other.
    targets : (n,) integers
        What came.
    threads : int
        Share the rows.
    """
    n = len(targets)
    out = Paired(
        Likelihoods(np.empty(n), np.empty(n, np.int64)),
        Likelihoods(np.empty(n), np.empty(n, np.int64)),
        np.empty(n),
    )

    def run(part: slice) -> None:
        q, out.model.likeliest[part] = _shifted(models[0], logits[0], part)
        p, out.reference.likeliest[part] = _shifted(models[1], logits[1], part)
        q_came, p_came = _pick(q, targets[part]), _pick(p, targets[part])
        weights = np.exp(q)
        log_q = _log_sum(weights)
        total = np.exp(p, out=weights).sum(axis=-1)
        log_p = np.log(total)
        out.model.nll[part] = log_q - q_came
        out.reference.nll[part] = log_p - p_came
        with np.errstate(invalid="ignore"):  # what is impossible is looked at below
            p -= q
            p *= weights
        if np.isnan(p).any():
            p[weights == 0] = 0
        out.kl[part] = p.sum(axis=-1) / total + (log_q - log_p)

    _share(run, n, models[0].valid_vocab, threads)
    return out


def _shifted(
    model: LanguageModel, logits: Logits, rows: slice | NDArray[np.intp]
) -> tuple[Floats, NDArray[np.intp]]:
    """Valid logits of some rows in nats, less the largest of each row, and its place."""
    few = logits[rows, : model.valid_vocab]
    likeliest = few.argmax(axis=-1)
    largest = np.take_along_axis(few, likeliest[:, None], axis=-1)
    out: Floats = np.subtract(few, largest, dtype=np.float64)
    if model.logit_exponent:
        out *= 2.0**model.logit_exponent
    return out, likeliest


def _pick(values: Floats, targets: NDArray[np.integer[Any]]) -> Floats:
    picked: Floats = values[np.arange(len(targets)), targets]
    return picked


def _log_sum(weights: Floats) -> Floats:
    """Logarithm of the sum of each row, at least 1."""
    out: Floats = np.log(weights.sum(axis=-1))
    return out


def _share(run: Callable[[slice], None], rows: int, columns: int, threads: int) -> None:
    """Call ``run`` for a few rows at a time, shared among threads."""
    step = max(1, IN_CACHE // columns)
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, parts))
