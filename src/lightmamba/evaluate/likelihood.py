"""Perplexity and bits per byte of a text."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.errors import InputError
from lightmamba.evaluate.model import LanguageModel, Progress, log_softmax
from lightmamba.evaluate.sweep import Reading, Windows, standard_error

__all__ = ["Perplexity", "exp_mean_nll", "perplexity", "token_nll"]

LARGEST = 700.0  # nats per token whose perplexity is still a float64


@dataclass(frozen=True, eq=False)
class Perplexity:
    """How well a model predicts a text.

    Attributes
    ----------
    perplexity : float
        exp of the mean negative log-likelihood of the scored tokens.
    standard_error : float
        Of ``perplexity``: itself times the standard error of the mean negative log-likelihood,
        which is taken over blocks of up to 128 scored tokens that lie within one window
        (:func:`lightmamba.evaluate.sweep.standard_error`).
    bits_per_byte : float or None
        Negative log-likelihood of the scored tokens in bits, divided by the bytes of the whole
        text. The first token of each window is not scored although its bytes count, which flatters
        by about one part in ``window``. None where the size of the text is not known.
    tokens : int
        Scored tokens.
    nll : (tokens,) float64
        Negative log-likelihood of each scored token in nats, in the order of the text.
    """

    perplexity: float
    standard_error: float
    bits_per_byte: float | None
    tokens: int
    nll: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, nll: NDArray[np.float64], windows: Windows, text_bytes: int | None) -> "Perplexity":
        """Sum up the negative log-likelihoods of the scored tokens of ``windows``.

        Raises
        ------
        InputError
            If one of them is not a finite number, or ``text_bytes`` is not positive.
        """
        bad = np.flatnonzero(~np.isfinite(nll))
        if bad.size:
            raise InputError(
                f"the model gives the token at position {windows.position(int(bad[0]))} no finite "
                f"log-probability; check its weights for NaN and infinity"
            )
        if text_bytes is not None and text_bytes < 1:
            raise InputError(f"the text must have at least 1 byte, not {text_bytes}")
        value = exp_mean_nll(float(nll.mean()))
        bits = float(nll.sum()) / math.log(2)
        return cls(
            perplexity=value,
            standard_error=value * standard_error(nll, windows.blocks()),
            bits_per_byte=None if text_bytes is None else bits / text_bytes,
            tokens=len(nll),
            nll=nll,
        )


def perplexity(
    model: LanguageModel,
    ids: ArrayLike,
    *,
    window: int = 1024,
    text_bytes: int | None = None,
    batch: int = 8,
    progress: Progress | None = None,
) -> Perplexity:
    """Measure the perplexity of a text, window by window.

    Windows do not overlap, the state is reset at each, and every token after a window's first is
    scored, those of the partial last window too. Probabilities are over the valid ids of the
    vocabulary, in float64.

    Parameters
    ----------
    model : LanguageModel
        Read window by window, each from its empty state.
    ids : (seqlen,) integers
        The text.
    window : int
        Tokens per window.
    text_bytes : int, optional
        Size of the text in UTF-8, for bits per byte.
    batch : int
        Windows read together; changes the speed, not the numbers.
    progress : callable (done, total), optional
        Told how many tokens are scored.

    Raises
    ------
    InputError
        If an id is out of range, the text too short, or a log-probability not finite.
    """
    windows = Windows(ids, window, model.valid_vocab)
    nll = np.empty(windows.scored)
    for reading in windows.sweep([model], batch, progress):
        nll[reading.scored] = token_nll(reading, log_softmax(reading.logits[0], model.valid_vocab))
    return Perplexity.of(nll, windows, text_bytes)


def exp_mean_nll(mean: float) -> float:
    """Turn a mean negative log-likelihood in nats into a perplexity.

    Raises
    ------
    InputError
        If it is too large for a float, which only a broken model reaches.
    """
    if mean > LARGEST:
        raise InputError(
            f"the text costs the model {mean:.0f} nats per token, where guessing costs the "
            f"logarithm of its vocabulary; check its weights and its tokenizer"
        )
    return math.exp(mean)


def token_nll(reading: Reading, log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pick the negative log-likelihood in nats of the tokens that came, (n,), from (n, vocab)."""
    return -log_probs[np.arange(len(reading.targets)), reading.targets]
