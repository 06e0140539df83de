"""A model against its reference: ratio, divergence, agreement, and the error by layer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.blocks import BlockSums
from lightmamba.evaluate.journal import Part
from lightmamba.evaluate.likelihood import Perplexity, Windows, check_bytes, check_finite, read
from lightmamba.evaluate.logprobs import paired
from lightmamba.evaluate.model import LanguageModel, Progress, Traced

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

    def plain(self) -> dict[str, Any]:
        """Figures by name: those of the model's perplexity, the comparison, and the layers."""
        names = ("ratio", "ratio_standard_error", "kl", "kl_standard_error", "top1_agreement")
        return {
            **self.model.plain(),
            "reference_perplexity": self.reference.perplexity,
            **{name: getattr(self, name) for name in names},
            "first_divergence": self.first_divergence,
            "layers": [
                {"name": e.name, "relative_error": e.relative_error, "snr_db": e.snr_db}
                for e in self.layers
            ],
        }


def compare(
    model: LanguageModel,
    reference: LanguageModel,
    ids: ArrayLike,
    *,
    window: int = 1024,
    text_bytes: int | None = None,
    batch: int | None = None,
    trace_tokens: int = 256,
    threads: int = 1,
    progress: Progress | None = None,
    part: Part | None = None,
) -> Comparison:
    """Read a text once with both models and compare what they say.

    Parameters
    ----------
    model, reference : LanguageModel
        Of one vocabulary.
    ids, window, text_bytes, batch, threads, progress, part
        As in :func:`lightmamba.evaluate.perplexity`.
    trace_tokens : int
        First tokens of the text on which the error by layer is taken, at most one window.

    Raises
    ------
    InputError
        If vocabularies or shapes differ, or for what ``perplexity`` refuses.
    """
    valid = model.valid_vocab
    if reference.valid_vocab != valid:
        raise InputError(
            f"the model has a vocabulary of {valid}, but its reference of {reference.valid_vocab}; "
            f"compare it with the checkpoint that it was made from"
        )
    check_bytes(text_bytes)
    windows = Windows(ids, window, valid, batch)
    layers = layer_errors(model, reference, windows.ids[None, : min(trace_tokens, window)])
    measure = partial(_read, (model, reference), windows, threads)
    found = (part or Part()).results(model, windows.units(), measure, progress)
    names = ("nll", "reference", "difference", "kl", "agreed")
    sums = {name: BlockSums.kept(found, name) for name in names}
    ratio = math.exp(sums["difference"].mean)
    diverged = [record["diverged"] for record in found if record["diverged"] is not None]
    return Comparison(
        model=Perplexity.of(sums["nll"], text_bytes),
        reference=Perplexity.of(sums["reference"], text_bytes),
        ratio=ratio,
        ratio_standard_error=ratio * sums["difference"].standard_error(),
        kl=sums["kl"].mean,
        kl_standard_error=sums["kl"].standard_error(),
        top1_agreement=sums["agreed"].mean,
        top1_standard_error=sums["agreed"].standard_error(),
        first_divergence=min(diverged, default=None),
        layers=layers,
    )


def _read(
    models: tuple[LanguageModel, LanguageModel],
    windows: Windows,
    threads: int,
    first: int,
    rows: NDArray[np.integer[Any]],
    tell: Callable[[int], None],
) -> dict[str, Any]:
    """Read some windows with the model and its reference: sums by block, the first divergence."""
    values = np.empty((4, len(rows), rows.shape[1] - 1))
    for span, targets, logits in read(models, rows):
        got = paired(models, (logits[0], logits[1]), targets, threads=threads)
        del logits
        agreed = got.model.likeliest == got.reference.likeliest
        for out, value in zip(
            values, (got.model.nll, got.reference.nll, got.kl, agreed), strict=True
        ):
            out[:, span] = value.reshape(len(rows), -1)
        tell(len(targets))
    nll, reference, kl, agreed = values
    check_finite(nll, windows, first)
    check_finite(reference, windows, first)
    named = {"nll": nll, "reference": reference, "kl": kl, "agreed": agreed}
    named["difference"] = nll - reference
    apart = np.argwhere(agreed == 0)
    diverged = windows.position(first, int(apart[0, 1]), int(apart[0, 0])) if apart.size else None
    return {name: BlockSums.of(value).plain() for name, value in named.items()} | {
        "diverged": diverged
    }


def layer_errors(
    model: LanguageModel, reference: LanguageModel, ids: NDArray[np.integer[Any]]
) -> tuple[LayerError, ...]:
    """Compare the traces of two models on (batch, seqlen) ids; empty unless both offer one.

    Raises
    ------
    InputError
        If the traces have other names or shapes: these are not two versions of one model.
    """
    if not (isinstance(model, Traced) and isinstance(reference, Traced)):
        return ()
    traces: tuple[Sequence[tuple[str, NDArray[np.floating]]], ...]
    first = ids.astype(np.int64)
    traces = (model.trace(first), reference.trace(first))
    shapes = [[(name, values.shape[2:]) for name, values in trace] for trace in traces]
    if shapes[0] != shapes[1]:
        raise InputError(
            "the model and its reference have layers of other kinds or sizes; compare it with the "
            "checkpoint that it was made from"
        )
    errors = []
    for (name, got), (_, expected) in zip(*traces, strict=True):
        signal = np.linalg.norm(expected.astype(np.float64))
        noise = np.linalg.norm(got.astype(np.float64) - expected.astype(np.float64))
        relative = float(noise / signal) if signal else math.inf if noise else 0.0
        errors.append(LayerError(name, relative))
    return tuple(errors)
