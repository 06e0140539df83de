"""Tokens that have run but may still be given up: what speculation leaves between two passes.

The state of a sequence is that after its last committed token. What an update needs of the tokens
after it is recorded; the next pass says how many of them are accepted, does those updates first,
and forgets the others. So nothing is ever copied back. Source: the replay of inputs of TensorRT-LLM
and ReplaySSM, exact here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.native.arena import aligned

__all__ = ["Open", "Record"]


@dataclass(frozen=True)
class Open:
    """Undecided tokens of one sequence: ids, and what saturated in each."""

    ids: NDArray[np.int64]
    lost: tuple[Counter[str], ...]


NONE = Open(np.empty(0, np.int64), ())
FAILED = Open(np.empty(0, np.int64), ())  # the last pass ended in the middle


class Record:
    """Undecided tokens of some sequences.

    Parameters
    ----------
    batch : int
    tokens : int
        Of one sequence, at most.
    size : int
        Bytes of a recorded token.

    Attributes
    ----------
    data : (batch, 2, tokens, size) uint8
        Two halves: one is read while the other is written.
    half : (batch,) int64
        Which half holds what is undecided.
    open : (batch,) Open
    """

    def __init__(self, batch: int, tokens: int, size: int) -> None:
        self.tokens, self.size = tokens, size
        self.data = aligned((batch, 2, tokens, size), np.uint8)
        self.half = np.zeros(batch, np.int64)
        self.open: NDArray[Any] = np.full(batch, NONE, object)

    def view(self, rows: slice) -> "Record":
        """Some of the sequences themselves."""
        part = Record.__new__(Record)
        part.tokens, part.size = self.tokens, self.size
        part.data, part.half, part.open = self.data[rows], self.half[rows], self.open[rows]
        return part

    def check(self, row: int, replay: int, left: int) -> None:
        """Whether a pass may accept ``replay`` tokens of a sequence and leave ``left`` undecided.

        Raises
        ------
        InputError
            If there are fewer, or there is no room for them.
        """
        if replay > len(self.open[row].ids):
            raise InputError(
                f"a pass accepts {replay} tokens of sequence {row}, but {len(self.open[row].ids)} "
                f"are undecided"
            )
        if left > self.tokens:
            raise InputError(
                f"a pass leaves {left} tokens of sequence {row} undecided, but its state has room "
                f"for {self.tokens}; make it with empty_state(batch, undecided={left})"
            )

    def accept(self, row: int, replay: int) -> Counter[str]:
        """Counts of saturated values in the accepted tokens; those of the others are dropped."""
        lost: Counter[str] = Counter()
        for each in self.open[row].lost[:replay]:
            lost.update(each)
        if self.open[row] is not FAILED:
            self.open[row] = NONE
        return lost

    def clear(self, row: int) -> None:
        """Forget what was undecided: another sequence begins."""
        self.open[row] = NONE

    def fail(self, row: int) -> None:
        """Note that a pass of a sequence ended in the middle, so that nothing may follow it."""
        self.open[row] = FAILED

    def usable(self, row: int) -> None:
        """Refuse a sequence of which a pass ended in the middle.

        Raises
        ------
        InputError
            If one did.
        """
        if self.open[row] is FAILED:
            raise InputError(
                f"the last pass of sequence {row} failed and left its state between two tokens; "
                f"begin the sequence again, or put a copy of its state from before"
            )

    def leave(self, row: int, ids: NDArray[np.int64], lost: Sequence[Counter[str]]) -> None:
        """Note what a pass left undecided, in the other half."""
        if len(ids):
            self.half[row] ^= 1
            self.open[row] = Open(ids.copy(), tuple(lost))

    def settled(self, rows: slice | NDArray[np.int64] = slice(None)) -> None:
        """Whether nothing is undecided.

        Raises
        ------
        InputError
            If a pass of one of them failed; see :meth:`usable`.
        ValueError
            If something is undecided: a state is copied and saved between decisions only.
        """
        for row in np.arange(len(self.open))[rows]:
            self.usable(row)
        if any(len(each.ids) for each in self.open[rows]):
            raise ValueError("the state has undecided tokens; run a pass that decides them first")
