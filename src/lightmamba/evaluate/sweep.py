"""Cutting a text into windows, reading them as batches, and the error of a mean over them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.errors import InputError
from lightmamba.evaluate.model import LanguageModel, Logits, Progress, check_ids, pieces

__all__ = ["BLOCK", "Reading", "Windows", "standard_error"]

BLOCK = 128  # scored tokens per block of the standard error


@dataclass(frozen=True)
class Reading:
    """One row of one piece of a sweep: what every model said about some consecutive tokens.

    Attributes
    ----------
    scored : slice
        Places of these tokens among all the scored tokens of the text.
    targets : (n,) int64
        The tokens themselves.
    logits : one (n, vocab_size) array per model
        What each model predicted before seeing each token.
    """

    scored: slice
    targets: NDArray[np.int64]
    logits: tuple[Logits, ...]


class Windows:
    """A text cut into windows that do not overlap; the last may be shorter.

    Every token after a window's first is scored, in the order of the text.

    Parameters
    ----------
    ids : (seqlen,) integers below ``valid_vocab``
    window : int
        Tokens per window.
    valid_vocab : int

    Raises
    ------
    InputError
        If an id is out of range, the window is shorter than two tokens, or fewer than two tokens
        would be scored (no error can be given for one).
    """

    def __init__(self, ids: ArrayLike, window: int, valid_vocab: int) -> None:
        if window < 2:
            raise InputError(
                f"a window must have at least 2 tokens, for example 1024, not {window}"
            )
        self.ids = check_ids(ids, valid_vocab)
        self.window = window
        self.full = len(self.ids) // window
        rest = len(self.ids) % window
        self.scored = self.full * (window - 1) + max(0, rest - 1)
        if self.scored < 2:
            raise InputError(
                f"the text has {len(self.ids)} tokens, of which {self.scored} can be scored in "
                f"windows of {window}; at least 2 are needed, better some thousands"
            )

    def batches(self, batch: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the number of the first window and (windows, tokens) ids, in order.

        Up to ``batch`` full windows together; the partial one by itself, if it scores anything.
        """
        whole = self.ids[: self.full * self.window].reshape(self.full, self.window)
        for first in range(0, self.full, batch):
            yield first, whole[first : first + batch]
        rest = self.ids[self.full * self.window :]
        if len(rest) > 1:
            yield self.full, rest[None]

    def position(self, scored: int) -> int:
        """Position in the text of a scored token."""
        return scored + scored // (self.window - 1) + 1

    def blocks(self) -> NDArray[np.int64]:
        """Places of the scored tokens that begin a block of up to ``BLOCK``, within one window."""
        place = np.arange(self.scored) % (self.window - 1)
        return np.flatnonzero(place % BLOCK == 0)

    def sweep(
        self, models: Sequence[LanguageModel], batch: int, progress: Progress | None = None
    ) -> Iterator[Reading]:
        """Read the whole text once with every model; report progress in scored tokens."""
        if batch < 1:
            raise InputError(f"the batch must be at least 1 window, not {batch}")
        done = 0
        for first, rows in self.batches(batch):
            for span, logits in pieces(models, rows[:, :-1]):
                for row in range(len(rows)):
                    begin = (first + row) * (self.window - 1)
                    yield Reading(
                        scored=slice(begin + span.start, begin + span.stop),
                        targets=rows[row, span.start + 1 : span.stop + 1],
                        logits=tuple(each[row] for each in logits),
                    )
                done += len(rows) * (span.stop - span.start)
                if progress is not None:
                    progress(done, self.scored)


def standard_error(values: NDArray[np.float64], blocks: NDArray[np.int64]) -> float:
    """Estimate the standard error of the mean of values that are correlated with their neighbours.

    Tokens of one passage are hard or easy together, so blocks of them are the independent samples:
    with sums S and sizes n of B blocks and the mean m of all N values, the variance of m is
    B / (B − 1) · Σ (S − m·n)² / N² (the ratio estimator, which allows for shorter blocks).
    What correlation there is between neighbouring blocks is not seen.

    Parameters
    ----------
    values : (n,) float64
        One per token, in order.
    blocks : (B,) int64
        Where each block begins. With one block only, every value counts as its own.

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("one value has no standard error")
    starts = blocks if len(blocks) > 1 else np.arange(len(values))
    sums = np.add.reduceat(values, starts)
    sizes = np.diff(np.append(starts, len(values)))
    count = len(starts)
    spread = np.square(sums - values.mean() * sizes).sum() * count / (count - 1)
    return float(np.sqrt(spread) / len(values))
