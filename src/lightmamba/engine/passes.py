"""A pass over tokens of several sequences: its checks, on numpy, and by the compiled kernels."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.layer import Observe
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass
from lightmamba.engine.native import Native
from lightmamba.engine.state import State

__all__ = ["Forward", "by_arrays", "by_kernels", "check", "rows_together"]

# Of ids (batch, seqlen), a state to advance, and how many of the last tokens want logits: logits
# (batch, wanted, vocab_size), and what saturated.
Forward = Callable[[NDArray[np.int64], State, int], tuple[NDArray[np.int32], Counter[str]]]


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
            outside = slot.tokens[(slot.tokens < 0) | (slot.tokens >= vocab_size)]
            raise InputError(
                f"token id {outside[0]} is outside the vocabulary of {vocab_size}; "
                f"ids go from 0 to {vocab_size - 1}"
            )
        left = len(slot.tokens) - slot.committed
        if not slot.fresh:
            state.record.usable(slot.sequence)
        state.record.check(slot.sequence, slot.replay, left)


def rows_together(work: Pass) -> slice | None:
    """Rows of the state, if all slots are one array (batch, seqlen) of certain tokens.

    Their rows are adjacent and in order, and as many logits are wanted of each.
    """
    first = work.slots[0]
    count, begin = len(first.tokens), first.sequence
    for n, slot in enumerate(work.slots):
        alike = len(slot.tokens) == slot.committed == count and slot.wanted == first.wanted
        if slot.sequence != begin + n or slot.replay or not alike:
            return None
    return slice(begin, begin + len(work.slots))


def by_arrays(work: Pass, state: State, forward: Forward, total: Counter[str]) -> NDArray[np.int32]:
    """Carry out a pass on numpy, by what undecided tokens mean.

    Accepted tokens are fed again, and those that stay undecided are fed to a copy. What saturated
    in the tokens that became certain is added to ``total``.

    Returns
    -------
    logits : (wanted, vocab_size) int32
    """
    if (rows := rows_together(work)) is not None:
        for row in range(rows.start, rows.stop):
            state.record.accept(row, 0)
        ids = np.stack([slot.tokens for slot in work.slots])
        logits, lost = forward(ids, state.view(rows), work.slots[0].wanted)
        total.update(lost)
        return logits.reshape(work.wanted, logits.shape[-1])
    found = []
    for slot in work.slots:
        row, count, sure = slot.sequence, len(slot.tokens), slot.committed
        mine, ids = state.view(slice(row, row + 1)), state.record.open[row].ids[: slot.replay]
        total.update(state.record.accept(row, slot.replay))
        if len(ids):
            forward(ids[None], mine, 0)
        if sure:
            logits, lost = forward(
                slot.tokens[None, :sure], mine, max(0, sure + slot.wanted - count)
            )
            found.append(logits[0])
            total.update(lost)
        trial, each = mine.fork() if sure < count else mine, []
        for n in range(sure, count):
            logits, lost = forward(
                slot.tokens[None, n : n + 1], trial, int(n >= count - slot.wanted)
            )
            found.append(logits[0])
            each.append(lost)
        state.record.leave(row, slot.tokens[sure:], each)
    return np.concatenate(found)


def by_kernels(
    ops: Native, work: Pass, state: State, observe: Observe | None, total: Counter[str]
) -> NDArray[np.int32]:
    """Carry out a pass by kernels, all layers in one call; ``state`` has space for its tokens.

    Returns
    -------
    logits
        As :func:`by_arrays`, with ``total`` too.
    """
    with ops.lock:
        for slot in work.slots:
            state.position[slot.sequence] += slot.replay
        try:
            logits = _logits(ops, state, work, observe)
        except BaseException:
            ops.discard()
            raise
        lost, first = ops.workspace(work.tokens).take_lost, 0
        for slot in work.slots:
            row, sure = slot.sequence, slot.committed
            state.position[row] += sure
            end, last = first + sure, first + len(slot.tokens)
            total.update(state.record.accept(row, slot.replay))
            total.update(lost(first, end))
            each = [lost(v, v + 1) for v in range(end, last)]
            state.record.leave(row, slot.tokens[sure:], each)
            first = last
    return logits


def _logits(ops: Native, state: State, work: Pass, observe: Observe | None) -> NDArray[np.int32]:
    slots, every = work.slots, range(ops.config.n_layer)
    ops.prepare()
    if observe is None:
        return ops.run(state, work, every)
    memory, lead = ops.workspace(work.tokens), (len(slots), len(slots[0].tokens))
    rows = rows_together(work)
    assert rows is not None, "what is observed is one array"
    mine = state.view(rows)
    ops.run(state, work, range(0), head=False)
    observe("embedding", memory.arrays["u"][: work.tokens].reshape(*lead, -1).copy())
    for i in every:
        ops.run(state, work, range(i, i + 1), embed=False, head=False)
        sizes = ops.config.layers[i]
        for name, value in memory.observables(sizes, lead, mine.layer(i), mine.position):
            observe(f"layer.{i}.{name}", value)
    logits = ops.run(state, work, range(0), embed=False)
    lead = len(slots), slots[0].wanted
    for name in ("rms", "rms_shift", "q", "code") if work.wanted else ():
        part = memory.arrays[f"head_{name}"][: work.wanted].copy()
        observe(f"head.{name}", part.reshape(*lead, -1))
    if work.wanted:
        observe("head.logits", logits.reshape(*lead, -1))
    return logits
