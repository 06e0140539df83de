"""A model against its reference: ratio, divergence, agreement, and the error by layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.errors import InputError
from lightmamba.evaluate.likelihood import Perplexity, token_nll
from lightmamba.evaluate.model import LanguageModel, Progress, Traced, log_softmax
from lightmamba.evaluate.sweep import Windows, standard_error

__all__ = ["Comparison", "LayerError", "compare", "layer_errors"]


@dataclass(frozen=True)
class LayerError:
    """Error of one traced tensor.

    Attributes
    ----------
    name : str
    relative_error : float
        Root of the summed squared error over root of the summed squared reference.
    """

    name: str
    relative_error: float

    @property
    def snr_db(self) -> float:
        """Signal to noise in decibels; infinite where both are equal."""
        if self.relative_error == 0:
            return math.inf
        return -20 * math.log10(self.relative_error)


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far a model is from its reference on one text.

    Attributes
    ----------
    model, reference : Perplexity
    ratio, ratio_standard_error : float
        Perplexity of the model over that of the reference; the error is that of the paired
        differences, token by token, so what both find hard cancels.
    kl, kl_standard_error : float
        Mean KL(reference ‖ model) of the next-token distributions in nats, over the scored tokens.
    top1_agreement, top1_standard_error : float
        Share of the scored tokens for which both find the same id most likely (the lowest of equal
        ones), whether or not it came.
    first_divergence : int or None
        Position in the text of the first token for which they do not, both having read the true
        text before it. None where they always agree.
    layers : tuple of LayerError
        In the order of the layers; empty unless both models are ``Traced``.

    All standard errors are over blocks, as in :class:`Perplexity`.
    """

    model: Perplexity
    reference: Perplexity
    ratio: float
    ratio_standard_error: float
    kl: float
    kl_standard_error: float
    top1_agreement: float
    top1_standard_error: float
    first_divergence: int | None
    layers: tuple[LayerError, ...]


def compare(
    model: LanguageModel,
    reference: LanguageModel,
    ids: ArrayLike,
    *,
    window: int = 1024,
    text_bytes: int | None = None,
    batch: int = 8,
    trace_tokens: int = 256,
    progress: Progress | None = None,
) -> Comparison:
    """Read a text once with both models and compare what they say.

    Parameters
    ----------
    model, reference : LanguageModel
        Of one vocabulary.
    ids, window, text_bytes, batch, progress
        As in :func:`lightmamba.evaluate.perplexity`.
    trace_tokens : int
        The error by layer is taken on so many first tokens of the text, at most one window.

    Raises
    ------
    InputError
        If the vocabularies differ, or for what ``perplexity`` refuses.
    """
    valid = model.valid_vocab
    if reference.valid_vocab != valid:
        raise InputError(
            f"the model knows {valid} token ids and its reference {reference.valid_vocab}; "
            f"compare it with the checkpoint that it was made from"
        )
    windows = Windows(ids, window, valid)
    nll, reference_nll, kl, agreed = np.empty((4, windows.scored))
    for reading in windows.sweep([model, reference], batch, progress):
        log_q, log_p = (log_softmax(logits, valid) for logits in reading.logits)
        nll[reading.scored] = token_nll(reading, log_q)
        reference_nll[reading.scored] = token_nll(reading, log_p)
        kl[reading.scored] = kl_divergence(log_p, log_q)
        agreed[reading.scored] = log_p.argmax(axis=-1) == log_q.argmax(axis=-1)

    measured = Perplexity.of(nll, windows, text_bytes)
    expected = Perplexity.of(reference_nll, windows, text_bytes)
    difference = nll - reference_nll
    ratio = math.exp(difference.mean())
    blocks = windows.blocks()
    diverging = np.flatnonzero(agreed == 0)
    return Comparison(
        model=measured,
        reference=expected,
        ratio=ratio,
        ratio_standard_error=ratio * standard_error(difference, blocks),
        kl=float(kl.mean()),
        kl_standard_error=standard_error(kl, blocks),
        top1_agreement=float(agreed.mean()),
        top1_standard_error=standard_error(agreed, blocks),
        first_divergence=windows.position(int(diverging[0])) if diverging.size else None,
        layers=layer_errors(model, reference, windows.ids[None, : min(trace_tokens, window)]),
    )


def kl_divergence(log_p: NDArray[np.float64], log_q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum p · (log p − log q) over the last axis, in nats; where p is 0 nothing is added."""
    p = np.exp(log_p)
    surprise = np.subtract(log_p, log_q, out=np.zeros_like(p), where=p > 0)
    divergence: NDArray[np.float64] = np.vecdot(p, surprise)
    return divergence


def layer_errors(
    model: LanguageModel, reference: LanguageModel, ids: NDArray[np.int64]
) -> tuple[LayerError, ...]:
    """Compare the traces of two models on (batch, seqlen) ids; empty unless both offer one.

    Raises
    ------
    ValueError
        If the traces have other names or shapes: the two do not show the same tensors.
    """
    if not (isinstance(model, Traced) and isinstance(reference, Traced)):
        return ()
    traces: tuple[Sequence[tuple[str, NDArray[np.floating]]], ...]
    traces = (model.trace(ids), reference.trace(ids))
    errors = []
    for (name, got), (expected_name, expected) in zip(*traces, strict=True):
        if name != expected_name or got.shape != expected.shape:
            raise ValueError(
                f"{name} {got.shape} is traced where the reference has "
                f"{expected_name} {expected.shape}"
            )
        signal = np.linalg.norm(expected.astype(np.float64))
        noise = np.linalg.norm(got.astype(np.float64) - expected.astype(np.float64))
        relative = float(noise / signal) if signal else math.inf if noise else 0.0
        errors.append(LayerError(name, relative))
    return tuple(errors)
