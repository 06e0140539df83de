"""Log-likelihood of a continuation after a context, many at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np

from lightmamba.common.errors import InputError
from lightmamba.evaluate.journal import Part
from lightmamba.evaluate.logprobs import likelihoods
from lightmamba.evaluate.model import (
    SEQUENCES,
    VECTORS,
    LanguageModel,
    Progress,
    State,
    Tokenizer,
    advance,
    check_batch,
    check_ids,
    pieces,
    together,
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
    """Score of a continuation under a model.

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
    tokenizer: Tokenizer, context: str, continuation: str, begins: int | None = None
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
    begins : int, optional
        Id in place of an empty context; it comes once, also where the tokenizer gives it.

    Raises
    ------
    InputError
        If nothing is left on one side of the cut.
    """
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    if not kept:
        prefix = () if begins is None else (begins,)
        ids = tuple(tokenizer.encode(continuation))
        return Request(prefix, ids[1:] if ids[:1] == prefix else ids)
    cut = len(tokenizer.encode(kept))
    ids = tuple(tokenizer.encode(kept + continuation))
    return Request(ids[:cut], ids[cut:])


def score(
    model: LanguageModel,
    requests: Sequence[Request],
    *,
    batch: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    part: Part | None = None,
) -> list[Score]:
    """Score every continuation after its own context, from the empty state.

    A context that several requests share is read once, and its state taken by each. Contexts of one
    length are read together, without padding; so are continuations after them, padded on the right:
    the model reads from left to right, so what follows a continuation changes nothing in it.
    Logits are asked for where a token is scored only.

    Parameters
    ----------
    model : LanguageModel
        Read from its empty state for every context.
    requests : sequence of Request
        Contexts may be of any length.
    batch : int, optional
        Sequences read together; changes the speed, not the numbers. By default as many as pay.
    threads : int
        Work on the logits.
    progress : callable (done, total), optional
        Called with the number of tokens read.
    part : Part, optional
        Of a journal: requests that are in it are not read again.

    Returns
    -------
    list of Score, in the order of ``requests``.

    Raises
    ------
    InputError
        If an id is out of range, or a log-likelihood is not finite.
    """
    check_batch(batch)
    for request in requests:
        check_ids(request.ids, model.valid_vocab)
    units = _units(requests, batch)

    def measure(_: int, unit: Unit, tell: Callable[[int], None]) -> list[tuple[float, bool]]:
        found = _read(model, requests, unit, batch or SEQUENCES, threads)
        tell(_cost(requests, unit))
        return found

    numbered = [(number, _cost(requests, unit), unit) for number, unit in enumerate(units)]
    found = (part or Part()).results(model, numbered, measure, progress)
    scores = dict(zip(chain(*chain(*units)), chain(*found), strict=True))
    return [Score(*scores[i]) for i in range(len(requests))]


Unit = list[list[int]]  # the requests of each context, of several contexts of one length


def _units(requests: Sequence[Request], batch: int | None) -> list[Unit]:
    """Group requests by context, and contexts by length, the longest first."""
    contexts: dict[tuple[int, ...], list[int]] = {}
    for i, request in enumerate(requests):
        contexts.setdefault(request.context, []).append(i)
    units: list[Unit] = []
    ordered = sorted(contexts.values(), key=lambda c: len(requests[c[0]].context), reverse=True)
    for length, group in groupby(ordered, key=lambda c: len(requests[c[0]].context)):
        alike, step = list(group), together(length - 1, batch)
        units += [alike[i : i + step] for i in range(0, len(alike), step)]
    return units


def _cost(requests: Sequence[Request], unit: Unit) -> int:
    """Tokens to be read."""
    contexts = sum(len(requests[same[0]].context) - 1 for same in unit)
    return contexts + sum(len(requests[i].continuation) for same in unit for i in same)


def _read(
    model: LanguageModel, requests: Sequence[Request], unit: Unit, most: int, threads: int
) -> list[tuple[float, bool]]:
    """Log-likelihood and greediness of the requests of a unit, in its order."""
    prompts = np.array([requests[same[0]].context[:-1] for same in unit], np.int64)
    state = model.empty_state(len(unit))
    if prompts.size:
        _, state = advance(model, prompts, state)

    rows = [(row, i) for row, same in enumerate(unit) for i in same]
    rows.sort(key=lambda row: len(requests[row[1]].continuation), reverse=True)
    found: dict[int, tuple[float, bool]] = {}
    while rows:
        longest = len(requests[rows[0][1]].continuation)
        few = rows[: max(1, min(most, VECTORS // longest))]
        del rows[: len(few)]
        taken = state.take(np.array([row for row, _ in few]))
        chosen = [requests[i] for _, i in few]
        got = _continue(model, chosen, taken, threads)
        found.update(zip([i for _, i in few], got, strict=True))
    return [found[i] for i in chain(*unit)]


def _continue(
    model: LanguageModel, requests: Sequence[Request], state: State, threads: int
) -> list[tuple[float, bool]]:
    """Score continuations after contexts that were read but for their last token."""
    longest = max(len(request.continuation) for request in requests)
    ids, targets = np.zeros((2, len(requests), longest), np.int64)
    real = np.zeros(ids.shape, bool)
    for row, request in enumerate(requests):
        count = len(request.continuation)
        ids[row, :count] = (request.context[-1], *request.continuation[:-1])
        targets[row, :count] = request.continuation
        real[row, :count] = True
    nll, greedy = np.zeros(ids.shape), np.ones(len(requests), bool)
    for span, (logits,) in pieces([model], ids, [state]):
        flat = logits.reshape(-1, logits.shape[-1])
        here, came = real[:, span], targets[:, span]
        got = likelihoods(model, flat, came[here], np.flatnonzero(here.ravel()), threads=threads)
        del logits, flat
        hits = np.ones(here.shape, bool)
        nll[:, span][here], hits[here] = got.nll, got.likeliest == came[here]
        greedy &= hits.all(axis=1)
    # Token by token, as lm-eval adds up what a server gives it; padding must not change a last bit.
    total = [-sum(row[use].tolist()) for row, use in zip(nll, real, strict=True)]
    if not np.isfinite(total).all():
        raise InputError(
            "the model gives a continuation no finite log-likelihood; "
            "check its weights for NaN and infinity"
        )
    return list(zip(total, greedy.tolist(), strict=True))
