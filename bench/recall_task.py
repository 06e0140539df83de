"""Associative recall over a distance: pairs of a key and a value, filler, then the keys again.

A sequence is ``key value key value ...``, then random filler from a part of the vocabulary of its
own, then every key once more, in another order. At each of those last keys the model is to name the
key's value. Keys of a sequence are distinct and values are drawn freely, so that nothing but the
state can hold an answer across the filler.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cases", "Task"]


@dataclass(frozen=True)
class Cases:
    """Some sequences of one length, and what is right at their last tokens.

    Parameters
    ----------
    ids
        (cases, tokens)
    answers
        (cases, pairs): what is right at each of the last ``pairs`` tokens.
    """

    ids: NDArray[np.int64]
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Sizes of the task. Ids of keys come first, then those of values, then those of filler."""

    pairs: int = 32  # of one sequence
    keys: int = 48  # to draw from
    values: int = 48
    filler: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= self.keys:
            raise ValueError(f"pairs must be 1 to {self.keys}, the keys, not {self.pairs}")

    @property
    def vocab_size(self) -> int:
        """Tokens of all three kinds."""
        return self.keys + self.values + self.filler

    def tokens(self, distance: int) -> int:
        """Length of a sequence."""
        return 3 * self.pairs + distance

    def cases(self, count: int, distance: int, rng: np.random.Generator) -> Cases:
        """Draw sequences with ``distance`` tokens of filler between the pairs and the queries."""
        tables = np.tile(np.arange(self.keys), (count, 1))
        keys = rng.permuted(tables, axis=1)[:, : self.pairs]
        values = self.keys + rng.integers(self.values, size=keys.shape)
        pairs = np.stack([keys, values], axis=-1).reshape(count, -1)
        filler = self.vocab_size - 1 - rng.integers(self.filler, size=(count, distance))
        order = rng.permuted(np.tile(np.arange(self.pairs), (count, 1)), axis=1)
        asked, answers = (np.take_along_axis(part, order, axis=1) for part in (keys, values))
        return Cases(np.concatenate([pairs, filler, asked], axis=1), answers)
