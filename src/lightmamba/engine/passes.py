"""Whole passes of the compiled kernels: all layers in one call, for tokens of many sequences."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.protocols import Observe
from lightmamba.config import ModelConfig
from lightmamba.engine.native import Native
from lightmamba.engine.state import State

__all__ = ["Passes", "Run"]

PIECE = 256  # tokens that go through all layers together, so that they stay in the cache


class Run(NamedTuple):
    """Vectors from ``first`` on of a pass: tokens of one sequence.

    The first ``replay`` of its undecided tokens are accepted, and the first ``commit`` of these.
    """

    sequence: int
    first: int
    vectors: int
    replay: int
    commit: int


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

    def forward(
        self, ids: NDArray[np.int64], state: State, last_only: bool, observe: Observe | None
    ) -> tuple[NDArray[np.int32], Counter[str]]:
        """Logits of (batch, seqlen) ids and what saturated; advances ``state``."""
        batch, seqlen = ids.shape
        pieces = list(_pieces(batch, seqlen, observe is not None))
        shape = batch, 1 if last_only else seqlen, self.config.vocab_size
        logits = np.empty(shape if len(pieces) > 1 else 0, dtype=np.int32)
        lost: Counter[str] = Counter()
        for rows, span in pieces:
            part = ids[rows, span]
            few, tokens = part.shape
            runs = [Run(rows.start + n, n * tokens, tokens, 0, tokens) for n in range(few)]
            wanted = np.arange(few * tokens).reshape(few, tokens)
            if last_only:
                wanted = wanted[:, tokens - 1 :] if span.stop == seqlen else wanted[:, :0]
            out, some = self.run(state, runs, part, wanted, observe)
            lost.update(some)
            if len(pieces) == 1 and out is not None:
                logits = out
            elif out is not None:
                logits[rows, slice(None) if last_only else span] = out
        return logits, lost

    def run(
        self,
        state: State,
        runs: Sequence[Run],
        ids: NDArray[np.int64],
        wanted: NDArray[np.int64],
        observe: Observe | None = None,
    ) -> tuple[NDArray[np.int32] | None, Counter[str]]:
        """Feed tokens through all layers and advance ``state``.

        Returns
        -------
        logits : wanted.shape + (vocab_size,) int32, or None
            Of the tokens whose places in ``ids`` are ``wanted``, if any are.
        lost : Counter
            What saturated in the tokens that became certain.
        """
        lost: Counter[str] = Counter()
        with self.ops.lock:
            before = state.position.copy()
            try:
                for row, _, count, replay, _ in runs:
                    state.position[row] += replay
                    state.reserve(row, count)
                logits = self._logits(state, runs, ids, wanted, observe)
            except BaseException:
                state.position[:] = before
                raise
            kinds = self.ops.workspace(ids.size).take_lost(ids.size)
            flat = ids.ravel()
            for row, first, count, replay, commit in runs:
                state.position[row] += commit
                end, last = first + commit, first + count
                lost.update(state.record.accept(row, replay))
                lost.update(kinds.total(first, end))
                each = [kinds.total(v, v + 1) for v in range(end, last)]
                state.record.leave(row, flat[end:last], each)
        return logits, lost

    def _logits(
        self,
        state: State,
        runs: Sequence[Run],
        ids: NDArray[np.int64],
        wanted: NDArray[np.int64],
        observe: Observe | None,
    ) -> NDArray[np.int32] | None:
        ops, layers = self.ops, range(self.config.n_layer)
        ops.prepare()
        flat, want = ids.ravel(), wanted.ravel() if wanted.size else None
        if observe is None:
            logits = ops.run(state, runs, layers, flat, want)
        else:
            work, lead = ops.workspace(ids.size), (ids.shape[0], ids.shape[1])
            ops.run(state, runs, range(0), flat, None)
            observe("embedding", work.arrays["u"][: ids.size].reshape(*lead, -1).copy())
            for i in layers:
                ops.run(state, runs, range(i, i + 1), None, None)
                sizes = self.config.layers[i]
                for name, value in work.observables(sizes, lead, state.layer(i), state.position):
                    observe(f"layer.{i}.{name}", value)
            logits = ops.run(state, runs, range(0), None, want)
            for name in ("rms", "rms_shift", "q", "code") if wanted.size else ():
                part = work.arrays[f"head_{name}"][: wanted.size].copy()
                observe(f"head.{name}", part.reshape(*wanted.shape, -1))
            if logits is not None:
                observe("head.logits", logits.reshape(*wanted.shape, -1))
        return None if logits is None else logits.reshape(*wanted.shape, -1)


def _pieces(batch: int, seqlen: int, whole: bool) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of ids that go through all layers together, about ``PIECE`` tokens."""
    rows = batch if whole else min(batch, PIECE)
    columns = seqlen if whole else max(1, PIECE // rows)
    for row in range(0, batch, rows):
        for column in range(0, seqlen, columns):
            yield (
                slice(row, min(row + rows, batch)),
                slice(column, min(column + columns, seqlen)),
            )
