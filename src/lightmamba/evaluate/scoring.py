"""Log-likelihood of a continuation after a context, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import InputError
from lightmamba.evaluate.model import (
    LanguageModel,
    Progress,
    Tokenizer,
    check_ids,
    log_softmax,
    pieces,
)

__all__ = ["Request", "Score", "encode_pair", "score"]


@dataclass(frozen=True)
class Request:
    """Ids to be read, and ids to be scored after them; neither may be empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.context:
            raise InputError(
                "the context has no token, so the first token after it cannot be scored; "
                "give at least one, such as the end-of-text id"
            )
        if not self.continuation:
            raise InputError("the continuation has no token, so there is nothing to score")

    @property
    def ids(self) -> tuple[int, ...]:
        """Context and continuation; the last id is only ever predicted, never read."""
        return self.context + self.continuation


@dataclass(frozen=True)
class Score:
    """What a model says about a continuation.

    Attributes
    ----------
    log_likelihood : float
        Sum over its tokens, in nats.
    is_greedy : bool
        Whether each of its tokens is the most likely one (the lowest id of equal ones).
    """

    log_likelihood: float
    is_greedy: bool


def encode_pair(
    tokenizer: Tokenizer, context: str, continuation: str, eot_id: int | None = None
) -> Request:
    """Cut a text into context and continuation ids.

    The text is encoded whole, and cut after as many ids as the context has by itself. Blanks that
    end the context are given to the continuation first, since tokenizers join them to the word that
    follows (both as lm-eval does).

    Parameters
    ----------
    tokenizer : Tokenizer
        Of the model's vocabulary.
    context, continuation : str
        Joined, they are the text.
    eot_id : int, optional
        Stands for an empty context.

    Raises
    ------
    InputError
        If nothing is left on one side of the cut.
    """
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    if not kept:
        prefix = () if eot_id is None else (eot_id,)
        return Request(prefix, tuple(tokenizer.encode(continuation)))
    cut = len(tokenizer.encode(kept))
    ids = tuple(tokenizer.encode(kept + continuation))
    return Request(ids[:cut], ids[cut:])


def score(
    model: LanguageModel,
    requests: Sequence[Request],
    *,
    batch: int = 8,
    progress: Progress | None = None,
) -> list[Score]:
    """Score every continuation after its own context, each from the empty state.

    Requests of similar length run together, padded on the right: the model reads from left to
    right, so what stands behind a request changes nothing in it.

    Parameters
    ----------
    model : LanguageModel
        Read anew from its empty state for every request.
    requests : sequence of Request
        Contexts may be of any length.
    batch : int
        Requests read together; changes the speed, not the numbers.
    progress : callable (done, total), optional
        Told how many requests are scored.

    Returns
    -------
    list of Score, in the order of ``requests``.

    Raises
    ------
    InputError
        If an id is out of range, or a log-likelihood is not finite.
    """
    if batch < 1:
        raise InputError(f"the batch must be at least 1 request, not {batch}")
    sequences = [check_ids(request.ids, model.valid_vocab) for request in requests]
    order = sorted(range(len(requests)), key=lambda i: len(sequences[i]), reverse=True)
    scores: dict[int, Score] = {}
    for first in range(0, len(order), batch):
        together = order[first : first + batch]
        found = _score_batch(
            model,
            [sequences[i] for i in together],
            [len(requests[i].context) for i in together],
        )
        scores.update(zip(together, found, strict=True))
        if progress is not None:
            progress(len(scores), len(requests))
    return [scores[i] for i in range(len(requests))]


def _score_batch(
    model: LanguageModel, sequences: Sequence[NDArray[np.int64]], contexts: Sequence[int]
) -> list[Score]:
    longest = max(len(sequence) for sequence in sequences) - 1
    ids = np.zeros((len(sequences), longest), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence) - 1] = sequence[:-1]
    total = np.zeros(len(sequences))
    greedy = np.ones(len(sequences), bool)
    for span, (logits,) in pieces([model], ids):
        for i, (sequence, context) in enumerate(zip(sequences, contexts, strict=True)):
            begin = max(span.start, context - 1)
            end = min(span.stop, len(sequence) - 1)
            if begin >= end:
                continue
            log_probs = log_softmax(
                logits[i, begin - span.start : end - span.start], model.valid_vocab
            )
            targets = sequence[begin + 1 : end + 1]
            total[i] += log_probs[np.arange(len(targets)), targets].sum()
            greedy[i] &= bool((log_probs.argmax(axis=-1) == targets).all())
    if not np.isfinite(total).all():
        raise InputError(
            "the model gives a continuation no finite log-likelihood; "
            "check its weights for NaN and infinity"
        )
    return [Score(float(t), bool(g)) for t, g in zip(total, greedy, strict=True)]
