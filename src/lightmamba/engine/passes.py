"""Whole passes of the compiled kernels: all layers in one call, for tokens of many sequences."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.layer import Observe
from lightmamba.common.passes import Pass
from lightmamba.engine.native import Native
from lightmamba.engine.run import rows_together
from lightmamba.engine.state import State
from lightmamba.model.config import ModelConfig

__all__ = ["Passes"]


class Passes:
    """Passes over a model.

    Parameters
    ----------
    ops : Native
        Kernels of the model.
    config : ModelConfig
    """

    def __init__(self, ops: Native, config: ModelConfig) -> None:
        self.ops, self.config = ops, config

    def run(
        self, work: Pass, state: State, observe: Observe | None = None
    ) -> tuple[NDArray[np.int32], Counter[str]]:
        """Feed the tokens of a pass through all layers and advance ``state``, which has space.

        Returns
        -------
        logits : (wanted, vocab_size) int32
        lost : Counter
            What saturated in the tokens that became certain.
        """
        lost: Counter[str] = Counter()
        with self.ops.lock:
            for slot in work.slots:
                state.position[slot.sequence] += slot.replay
            try:
                logits = self._logits(state, work, observe)
            except BaseException:
                self.ops.discard()
                raise
            kinds = self.ops.workspace(work.tokens).take_lost(work.tokens)
            first = 0
            for slot in work.slots:
                row, sure = slot.sequence, slot.committed
                state.position[row] += sure
                end, last = first + sure, first + len(slot.tokens)
                lost.update(state.record.accept(row, slot.replay))
                lost.update(kinds.total(first, end))
                each = [kinds.total(v, v + 1) for v in range(end, last)]
                state.record.leave(row, slot.tokens[sure:], each)
                first = last
        return logits, lost

    def _logits(self, state: State, work: Pass, observe: Observe | None) -> NDArray[np.int32]:
        ops, slots, every = self.ops, work.slots, range(self.config.n_layer)
        ops.prepare()
        ids = np.concatenate([slot.tokens for slot in slots])
        ends = np.cumsum([len(slot.tokens) for slot in slots])
        want = np.concatenate(
            [np.arange(end - s.wanted, end) for s, end in zip(slots, ends, strict=True)]
        )
        if observe is None:
            return ops.run(state, slots, every, ids, want)
        memory, lead = ops.workspace(ids.size), (len(slots), len(slots[0].tokens))
        rows = rows_together(work)
        assert rows is not None, "what is observed is one array"
        mine = state.view(rows)
        ops.run(state, slots, range(0), ids, want[:0])
        observe("embedding", memory.arrays["u"][: ids.size].reshape(*lead, -1).copy())
        for i in every:
            ops.run(state, slots, range(i, i + 1), None, want[:0])
            sizes = self.config.layers[i]
            for name, value in memory.observables(sizes, lead, mine.layer(i), mine.position):
                observe(f"layer.{i}.{name}", value)
        logits = ops.run(state, slots, range(0), None, want)
        lead = len(slots), slots[0].wanted
        for name in ("rms", "rms_shift", "q", "code") if want.size else ():
            part = memory.arrays[f"head_{name}"][: want.size].copy()
            observe(f"head.{name}", part.reshape(*lead, -1))
        if want.size:
            observe("head.logits", logits.reshape(*lead, -1))
        return logits
