"""A pass over tokens of several sequences, as many of each as there are."""

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.engine import Engine
from lightmamba.engine.state import State
from lightmamba.errors import InputError
from lightmamba.passes import Pass

__all__ = ["run"]


def run(engine: Engine, work: Pass, state: State) -> NDArray[np.int32]:
    """Carry out a pass.

    What a sequence gets does not depend on the other slots: every sum of integers is exact.

    Parameters
    ----------
    engine : Engine
        Of the model.
    work : Pass
        Sequences are rows of the state; those that no slot names stay as they are.
    state : State
        Of all sequences; advanced.

    Returns
    -------
    logits : (wanted, vocab_size) int32
        Of the wanted tokens of each slot, in their order.

    Raises
    ------
    InputError
        If a sequence is not of the state, or an id is outside the vocabulary.
    """
    _check(engine, work, state)
    for slot in work.slots:
        if slot.fresh:
            state.clear(slot.sequence)
    if not engine.runs_passes:
        return _one_by_one(engine, work, state)
    slots, first = [], 0
    want: list[int] = []
    for slot in work.slots:
        end = first + len(slot.tokens)
        slots.append((slot.sequence, first, len(slot.tokens)))
        want += range(end - slot.wanted, end)
        first = end
    ids = np.concatenate([slot.tokens for slot in work.slots])
    with engine.lock:
        logits = engine.run_pass(state, slots, ids, np.array(want, dtype=np.int64))
    return _none(engine) if logits is None else logits


def _one_by_one(engine: Engine, work: Pass, state: State) -> NDArray[np.int32]:
    """Without whole passes of the kernels: the same, a sequence at a time."""
    found = []
    for slot in work.slots:
        mine = state.view(slice(slot.sequence, slot.sequence + 1))
        logits, _ = engine.forward(slot.tokens[None], mine, last_only=slot.wanted < 2)
        if slot.wanted:
            found.append(logits[0, -slot.wanted :])
    return np.concatenate(found) if found else _none(engine)


def _none(engine: Engine) -> NDArray[np.int32]:
    return np.empty((0, engine.vocab_size), dtype=np.int32)


def _check(engine: Engine, work: Pass, state: State) -> None:
    for slot in work.slots:
        if not 0 <= slot.sequence < len(state):
            raise InputError(f"sequence {slot.sequence} is not of a state of {len(state)}")
        if slot.tokens.min() < 0 or slot.tokens.max() >= engine.vocab_size:
            raise InputError(f"token ids go from 0 to {engine.vocab_size - 1}")
