"""Cutting a text into windows and reading them, some together."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.model import (
    LanguageModel,
    Logits,
    check_batch,
    check_ids,
    pieces,
    together,
)

__all__ = ["Windows", "read"]


class Windows:
    """A text cut into windows that do not overlap; the last may be shorter.

    Every token after a window's first is scored, in the order of the text.

    Parameters
    ----------
    ids : (seqlen,) integers below ``valid_vocab``
    window : int
        Tokens per window.
    valid_vocab : int
    batch : int, optional
        Windows read together; by default as many as :func:`lightmamba.evaluate.model.together`.

    Raises
    ------
    InputError
        If an id is out of range, the window is shorter than two tokens, or fewer than two tokens
        would be scored (no error can be given for one).
    """

    def __init__(
        self, ids: ArrayLike, window: int, valid_vocab: int, batch: int | None = None
    ) -> None:
        if window < 2:
            raise InputError(
                f"a window must have at least 2 tokens, for example 1024, not {window}"
            )
        check_batch(batch)
        self.ids = check_ids(ids, valid_vocab)
        self.window = window
        self.batch = together(window - 1, batch)
        self.full = len(self.ids) // window
        rest = len(self.ids) % window
        self.scored = self.full * (window - 1) + max(0, rest - 1)
        if self.scored < 2:
            raise InputError(
                f"the text has {len(self.ids)} tokens, of which {self.scored} can be scored in "
                f"windows of {window}; at least 2 are needed, better some thousands"
            )

    def units(self) -> list[tuple[int, int, NDArray[np.integer[Any]]]]:
        """Number of the first window, tokens scored, and (windows, tokens) ids, in order.

        Up to ``batch`` full windows together; the partial one by itself, if it scores anything.
        """
        whole = self.ids[: self.full * self.window].reshape(self.full, self.window)
        parts = [(n, whole[n : n + self.batch]) for n in range(0, self.full, self.batch)]
        parts.append((self.full, self.ids[None, self.full * self.window :]))
        return [(first, rows[:, 1:].size, rows) for first, rows in parts if rows.shape[1] > 1]

    def position(self, first: int, scored: int, row: int) -> int:
        """Position in the text of a scored token, in row ``row`` of windows from ``first`` on."""
        return (first + row) * self.window + scored + 1


def read(
    models: Sequence[LanguageModel], rows: NDArray[np.integer[Any]]
) -> Iterator[tuple[slice, NDArray[np.integer[Any]], tuple[Logits, ...]]]:
    """Read (windows, tokens) ids from the empty state; the caller drops each piece's logits.

    Yields
    ------
    span : slice
        Places in their windows of some scored tokens.
    targets : (n,) integers
        These tokens of all windows, window by window.
    logits : one (n, vocab_size) array per model
        What each model predicted before seeing each.
    """
    for span, logits in pieces(models, rows[:, :-1]):
        targets = rows[:, span.start + 1 : span.stop + 1].ravel()
        flat = tuple(each.reshape(-1, each.shape[-1]) for each in logits)
        yield span, targets, flat
        del logits, flat
