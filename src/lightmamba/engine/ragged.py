"""A pass over tokens of several sequences, as many of each as there are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.engine import Engine
from lightmamba.engine.state import State
from lightmamba.errors import InputError

__all__ = ["Span", "feed"]


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one sequence.

    Parameters
    ----------
    row : int
        Which sequence of the state.
    ids : (count,) int64
        Its next tokens, at least one.
    logits : bool
        Whether the logits of the last one are wanted.
    """

    row: int
    ids: NDArray[np.int64]
    logits: bool = True


def feed(engine: Engine, spans: Sequence[Span], state: State) -> NDArray[np.int32]:
    """Feed spans of several sequences in one pass over the weights.

    What a sequence gets does not depend on the other spans: every sum of integers is exact.

    Parameters
    ----------
    engine : Engine
        Of the model.
    spans : sequence of Span
        Of different rows; rows that no span names stay as they are.
    state : State
        Of all rows; advanced.

    Returns
    -------
    logits : (wanted, vocab_size) int32
        Of the last token of each span that wants them, in their order.

    Raises
    ------
    InputError
        If there is no span, one is empty, two are of one row, a row is not of the state, or an id
        is outside the vocabulary.
    """
    _check(engine, spans, state)
    if not engine.runs_passes:
        return _one_by_one(engine, spans, state)
    slots, first, want = [], 0, []
    for span in spans:
        slots.append((span.row, first, len(span.ids)))
        first += len(span.ids)
        if span.logits:
            want.append(first - 1)
    ids = np.concatenate([span.ids for span in spans])
    with engine.lock:
        logits = engine.run_pass(state, slots, ids, np.array(want, dtype=np.int64))
    return _none(engine) if logits is None else logits


def _one_by_one(engine: Engine, spans: Sequence[Span], state: State) -> NDArray[np.int32]:
    """Without whole passes of the kernels: the same, a sequence at a time."""
    found = []
    for span in spans:
        logits, _ = engine.forward(span.ids[None], state.view(slice(span.row, span.row + 1)))
        if span.logits:
            found.append(logits[:, -1])
    return np.concatenate(found) if found else _none(engine)


def _none(engine: Engine) -> NDArray[np.int32]:
    return np.empty((0, engine.vocab_size), dtype=np.int32)


def _check(engine: Engine, spans: Sequence[Span], state: State) -> None:
    if not spans:
        raise InputError("a pass needs at least one token")
    rows = Counter(span.row for span in spans)
    for span in spans:
        if not 0 <= span.row < len(state):
            raise InputError(f"row {span.row} is not of a state of {len(state)} sequences")
        if rows[span.row] > 1:
            raise InputError(f"row {span.row} is in a pass twice; give its tokens as one span")
        if span.ids.ndim != 1 or not len(span.ids):
            raise InputError(f"a span's ids must be (count,), at least one, not {span.ids.shape}")
        if span.ids.min() < 0 or span.ids.max() >= engine.vocab_size:
            raise InputError(f"token ids go from 0 to {engine.vocab_size - 1}")
