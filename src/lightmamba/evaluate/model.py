"""Protocols of a model and a tokenizer for evaluation; any object with these methods will do."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.text.continuation import LanguageModel, Logits

__all__ = [
    "SEQUENCES",
    "VECTORS",
    "LanguageModel",
    "Logits",
    "Progress",
    "State",
    "Tokenizer",
    "Traced",
    "advance",
    "check_batch",
    "check_ids",
    "pieces",
    "together",
]

Progress = Callable[[int, int], None]  # called with (done, total), in tokens

VECTORS = 256  # tokens of one call of a model, those of all its sequences together
SPAN = 64  # tokens of each sequence in a call, where sequences are long enough
SEQUENCES = 16  # sequences of one call, at most: each has a state of its own
LOGITS_HELD = 1 << 24  # logits of one call, at most: 64 MiB in int32


class State(Protocol):
    """State of some sequences in a model."""

    def take(self, rows: NDArray[np.int64], /) -> Any:
        """Copy the state of the sequences ``rows``, in this order; one may come several times."""
        ...


@runtime_checkable
class Traced(Protocol):
    """A model that shows its inside.

    Two models can be compared by layer only in a common basis: one that rotated its residual stream
    turns it back before handing it out.
    """

    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.floating[Any]]]]:
        """Map (batch, seqlen) ids, read from the empty state, to named (batch, seqlen, d) arrays.

        In the order of the layers; values in the units of the float reference.
        """
        ...


class Tokenizer(Protocol):
    """Text to ids and back."""

    def encode(self, text: str) -> Sequence[int] | NDArray[np.int64]:
        """Map text to ids, without special ids after it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Map ids to text."""
        ...


def check_ids(ids: ArrayLike, valid_vocab: int) -> NDArray[np.integer[Any]]:
    """Return one sequence of ids as (seqlen,) integers, of the type they came in.

    Raises
    ------
    InputError
        If it is not one sequence of whole numbers below ``valid_vocab``; names the first bad one.
    """
    given = np.asarray(ids)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise InputError(
            f"token ids must be one sequence of whole numbers such as [17, 4, 256], "
            f"not {given.dtype} of shape {given.shape}"
        )
    bad = np.flatnonzero((given < 0) | (given >= valid_vocab))
    if bad.size:
        raise InputError(
            f"token id {given[bad[0]]} at position {bad[0]} is out of range; "
            f"the model knows the ids 0 to {valid_vocab - 1}"
        )
    return given if given.size else given.astype(np.int64)


def check_batch(batch: int | None) -> None:
    """Refuse a number of sequences that is none."""
    if batch is not None and batch < 1:
        raise InputError(f"the batch must be at least 1 sequence, not {batch}")


def together(seqlen: int, batch: int | None = None) -> int:
    """Sequences of a length that are read together: ``batch``, or as many as pay off.

    Pieces of ``SPAN`` tokens of each make ``VECTORS`` in all, so that a projection reads its
    weights seldom; more sequences would only take more states.
    """
    return batch or min(SEQUENCES, -(-VECTORS // max(1, min(SPAN, seqlen))))


def spans(seqlen: int, batch: int, columns: int = 0) -> Iterator[slice]:
    """Cut (batch, seqlen) tokens into pieces of ``VECTORS`` and of ``LOGITS_HELD`` logits at most.

    ``columns`` logits are asked for of every token.
    """
    vectors = min(VECTORS, LOGITS_HELD // columns) if columns else VECTORS
    step = max(1, vectors // batch)
    for start in range(0, seqlen, step):
        yield slice(start, min(start + step, seqlen))


def pieces(
    models: Sequence[LanguageModel],
    ids: NDArray[np.integer[Any]],
    states: Sequence[Any] | None = None,
) -> Iterator[tuple[slice, tuple[Logits, ...]]]:
    """Feed (batch, seqlen) ids to every model, some tokens at a time.

    The logits of one piece are all that is ever held, if the caller drops them before it goes on.

    Parameters
    ----------
    models : sequence of LanguageModel
        All of them read the same.
    ids : (batch, seqlen) integers
        Of sequences of one length.
    states : sequence of State, optional
        One for each model; by default the empty ones.

    Yields
    ------
    span, logits
        The columns of ``ids`` just read, and the (batch, span, vocab_size) logits of each model.
    """
    batch, seqlen = ids.shape
    after = list(states) if states is not None else [m.empty_state(batch) for m in models]
    for span in spans(seqlen, batch, max(model.vocab_size for model in models)):
        part, logits = ids[:, span].astype(np.int64), []
        for i, model in enumerate(models):
            out, after[i] = model.forward(part, after[i], last_only=False)
            logits.append(out)
        yield span, tuple(logits)
        del out, logits  # before there are others


def advance(model: LanguageModel, ids: NDArray[np.integer[Any]], state: Any) -> tuple[Logits, Any]:
    """Read (batch, seqlen) ids, at least one token, for the logits of the last only.

    Returns
    -------
    logits : (batch, vocab_size)
    state
    """
    batch, seqlen = ids.shape
    for span in spans(seqlen, batch):
        logits, state = model.forward(ids[:, span].astype(np.int64), state, last_only=True)
    return logits[:, -1], state
