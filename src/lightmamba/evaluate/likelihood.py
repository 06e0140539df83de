"""A text in windows, its perplexity and its bits per byte."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.blocks import BlockSums
from lightmamba.evaluate.journal import Part
from lightmamba.evaluate.logprobs import likelihoods
from lightmamba.evaluate.model import (
    LanguageModel,
    Logits,
    Progress,
    check_batch,
    check_ids,
    pieces,
    together,
)

__all__ = [
    "Perplexity", "Windows", "check_bytes", "check_finite", "exp_mean_nll", "perplexity", "read",
]  # fmt: skip

LARGEST = 700.0  # nats per token whose perplexity is still a float64


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


@dataclass(frozen=True, eq=False)
class Perplexity:
    """How well a model predicts a text.

    Attributes
    ----------
    perplexity : float
        exp of the mean negative log-likelihood of the scored tokens.
    standard_error : float
        Of ``perplexity``: itself times the standard error of the mean negative log-likelihood,
        which is taken over blocks of up to 128 scored tokens that lie within one window
        (:meth:`lightmamba.evaluate.blocks.BlockSums.standard_error`).
    bits_per_byte : float or None
        Negative log-likelihood of the scored tokens in bits, divided by the bytes of the whole
        text. The first token of each window is not scored although its bytes count, which flatters
        by about one part in ``window``. None where the size of the text is not known.
    tokens : int
        Scored tokens.
    nll : BlockSums
        Negative log-likelihood of the scored tokens in nats, by block, in the order of the text.
    """

    perplexity: float
    standard_error: float
    bits_per_byte: float | None
    tokens: int
    nll: BlockSums = field(repr=False)

    @classmethod
    def of(cls, nll: BlockSums, text_bytes: int | None) -> "Perplexity":
        """Sum up the negative log-likelihoods of the scored tokens.

        Raises
        ------
        InputError
            If they are too large for a number.
        """
        value = exp_mean_nll(nll.mean)
        bits = nll.total / math.log(2)
        return cls(
            perplexity=value,
            standard_error=value * nll.standard_error(),
            bits_per_byte=None if text_bytes is None else bits / text_bytes,
            tokens=nll.count,
            nll=nll,
        )

    def plain(self) -> dict[str, Any]:
        """Figures by name, without the sums by block."""
        names = ("perplexity", "standard_error", "bits_per_byte", "tokens")
        return {name: getattr(self, name) for name in names}


def perplexity(
    model: LanguageModel,
    ids: ArrayLike,
    *,
    window: int = 1024,
    text_bytes: int | None = None,
    batch: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    part: Part | None = None,
) -> Perplexity:
    """Measure the perplexity of a text, window by window.

    Windows do not overlap, the state is reset at each, and every token after a window's first is
    scored, those of the partial last window too. Probabilities are over the valid ids of the
    vocabulary, in float64. Apart from the ids, memory grows with the text by a few
    numbers per block of tokens only.

    Parameters
    ----------
    model : LanguageModel
        Read window by window, each from its empty state.
    ids : (seqlen,) integers
        The text.
    window : int
        Tokens per window.
    text_bytes : int, optional
        Size of the text in UTF-8, for bits per byte.
    batch : int, optional
        Windows read together; changes the speed, not the numbers. By default as many as pay.
    threads : int
        Work on the logits.
    progress : callable (done, total), optional
        Called with the number of tokens scored.
    part : Part, optional
        Of a journal: windows that are in it are not read again.

    Raises
    ------
    InputError
        If an id is out of range, the text too short, or a log-probability not finite.
    """
    check_bytes(text_bytes)
    windows = Windows(ids, window, model.valid_vocab, batch)

    def measure(
        first: int, rows: NDArray[np.integer[Any]], tell: Callable[[int], None]
    ) -> dict[str, Any]:
        nll = np.empty((len(rows), rows.shape[1] - 1))
        for span, targets, (logits,) in read([model], rows):
            got = likelihoods(model, logits, targets, threads=threads).nll
            del logits
            nll[:, span] = got.reshape(len(rows), -1)
            tell(got.size)
        check_finite(nll, windows, first)
        return {"nll": BlockSums.of(nll).plain()}

    found = (part or Part()).results(model, windows.units(), measure, progress)
    return Perplexity.of(BlockSums.kept(found, "nll"), text_bytes)


def check_bytes(text_bytes: int | None) -> None:
    """Refuse a size of a text that is none."""
    if text_bytes is not None and text_bytes < 1:
        raise InputError(f"the text must have at least 1 byte, not {text_bytes}")


def check_finite(nll: NDArray[np.float64], windows: Windows, first: int) -> None:
    """Refuse (windows, tokens) negative log-likelihoods that are no numbers; names the first."""
    bad = np.argwhere(~np.isfinite(nll))
    if bad.size:
        row, scored = (int(n) for n in bad[0])
        raise InputError(
            f"the model gives the token at position {windows.position(first, scored, row)} no "
            f"finite log-probability; check its weights for NaN and infinity"
        )


def exp_mean_nll(mean: float) -> float:
    """Turn a mean negative log-likelihood in nats into a perplexity.

    Raises
    ------
    InputError
        If it is too large for a float, which only a broken model reaches.
    """
    if mean > LARGEST:
        raise InputError(
            f"the text costs the model {mean:.0f} nats per token, where guessing costs the "
            f"logarithm of its vocabulary; check its weights and its tokenizer"
        )
    return math.exp(mean)
