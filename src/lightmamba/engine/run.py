"""A pass over tokens of several sequences, as many of each as there are."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.passes import Passes, Run
from lightmamba.engine.state import State
from lightmamba.errors import InputError
from lightmamba.passes import Pass

__all__ = ["Forward", "at_once", "check", "one_by_one"]

# Of ids (1, seqlen), a state to advance, and whether the last token's logits suffice: logits
# (1, 1 or seqlen, vocab_size), and what saturated.
Forward = Callable[[NDArray[np.int64], State, bool], tuple[NDArray[np.int32], Counter[str]]]
Ran = tuple[
    NDArray[np.int32] | None, Counter[str]
]  # logits (wanted, vocab_size), if any are wanted


def check(work: Pass, state: State, vocab_size: int) -> None:
    """Refuse a pass that does not fit the state or the vocabulary.

    Raises
    ------
    InputError
        See :meth:`lightmamba.engine.Engine.run`.
    """
    for slot in work.slots:
        if not 0 <= slot.sequence < len(state):
            raise InputError(f"sequence {slot.sequence} is not of a state of {len(state)}")
        if slot.tokens.min() < 0 or slot.tokens.max() >= vocab_size:
            raise InputError(f"token ids go from 0 to {vocab_size - 1}")
        left = len(slot.tokens) - slot.committed
        state.record.check(slot.sequence, slot.replay, left)


def at_once(work: Pass, state: State, passes: Passes) -> Ran:
    """Carry out a pass by the kernels, all slots together."""
    runs, first = [], 0
    want: list[int] = []
    for slot in work.slots:
        end = first + len(slot.tokens)
        runs.append(Run(slot.sequence, first, len(slot.tokens), slot.replay, slot.committed))
        want += range(end - slot.wanted, end)
        first = end
    ids = np.concatenate([slot.tokens for slot in work.slots])
    return passes.run(state, runs, ids, np.array(want, dtype=np.int64))


def one_by_one(work: Pass, state: State, forward: Forward) -> Ran:
    """Carry out a pass without whole passes of the kernels, by what undecided tokens mean.

    Accepted tokens are fed again, and those that stay undecided are fed to a copy.
    """
    found, total = [], Counter[str]()
    for slot in work.slots:
        row, sure = slot.sequence, slot.committed
        mine, ids = state.view(slice(row, row + 1)), state.record.open[row].ids[: slot.replay]
        total.update(state.record.accept(row, slot.replay))
        if len(ids):
            forward(ids[None], mine, True)
        logits = []
        if sure:
            some, lost = forward(slot.tokens[None, :sure], mine, slot.wanted <= 1)
            logits.append(some[0])
            total.update(lost)
        trial, each = mine.fork() if sure < len(slot.tokens) else mine, []
        for n in range(sure, len(slot.tokens)):
            some, lost = forward(slot.tokens[None, n : n + 1], trial, True)
            logits.append(some[0])
            each.append(lost)
        state.record.leave(row, slot.tokens[sure:], each)
        if slot.wanted:
            found.append(np.concatenate(logits)[-slot.wanted :])
    return (np.concatenate(found) if found else None), total
