"""A pass over tokens of several sequences, as many of each as there are."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.passes import Run
from lightmamba.engine.state import State
from lightmamba.errors import InputError
from lightmamba.passes import Pass

if TYPE_CHECKING:
    from lightmamba.engine.engine import Engine

__all__ = ["carry_out"]


def carry_out(engine: "Engine", work: Pass, state: State) -> NDArray[np.int32]:
    """See :meth:`lightmamba.engine.Engine.run`."""
    _check(engine, work, state)
    for slot in work.slots:
        if slot.fresh:
            state.clear(slot.sequence)
    if engine.passes is None:
        return _one_by_one(engine, work, state)
    runs, first = [], 0
    want: list[int] = []
    for slot in work.slots:
        end = first + len(slot.tokens)
        runs.append(Run(slot.sequence, first, len(slot.tokens), slot.replay, slot.committed))
        want += range(end - slot.wanted, end)
        first = end
    ids = np.concatenate([slot.tokens for slot in work.slots])
    logits, lost = engine.passes.run(state, runs, ids, np.array(want, dtype=np.int64))
    engine.counters.update(lost)
    return _none(engine) if logits is None else logits


def _one_by_one(engine: "Engine", work: Pass, state: State) -> NDArray[np.int32]:
    """Without whole passes of the kernels: the same, by what undecided tokens mean.

    Accepted tokens are fed again, and those that stay undecided are fed to a copy.
    """
    found = []
    for slot in work.slots:
        row, sure = slot.sequence, slot.committed
        mine, ids = state.view(slice(row, row + 1)), state.record.open[row].ids[: slot.replay]
        lost = state.record.accept(row, slot.replay)
        if len(ids):
            _counted(engine, ids, mine, False)
        logits = []
        if sure:
            some, more = _counted(engine, slot.tokens[:sure], mine, slot.wanted > 1)
            logits.append(some)
            lost.update(more)
        trial, each = mine.fork() if sure < len(slot.tokens) else mine, []
        for n in range(sure, len(slot.tokens)):
            some, more = _counted(engine, slot.tokens[n : n + 1], trial, False)
            logits.append(some)
            each.append(more)
        state.record.leave(row, slot.tokens[sure:], each)
        engine.counters.update(lost)
        if slot.wanted:
            found.append(np.concatenate(logits)[-slot.wanted :])
    return np.concatenate(found) if found else _none(engine)


def _counted(
    engine: "Engine", ids: NDArray[np.int64], state: State, every: bool
) -> tuple[NDArray[np.int32], Counter[str]]:
    """Logits (count, vocab_size) of ids (seqlen,) and what saturated, which is not counted yet."""
    before, engine.counters = engine.counters, Counter()
    try:
        logits, _ = engine.forward(ids[None], state, last_only=not every)
        return logits[0], engine.counters
    finally:
        engine.counters = before


def _none(engine: "Engine") -> NDArray[np.int32]:
    return np.empty((0, engine.vocab_size), dtype=np.int32)


def _check(engine: "Engine", work: Pass, state: State) -> None:
    for slot in work.slots:
        if not 0 <= slot.sequence < len(state):
            raise InputError(f"sequence {slot.sequence} is not of a state of {len(state)}")
        if slot.tokens.min() < 0 or slot.tokens.max() >= engine.vocab_size:
            raise InputError(f"token ids go from 0 to {engine.vocab_size - 1}")
        left = len(slot.tokens) - slot.committed
        state.record.check(slot.sequence, slot.replay, left)
