"""What evaluation asks of a model and of a tokenizer; any object with these methods will do."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.errors import InputError

__all__ = [
    "LanguageModel",
    "Progress",
    "Tokenizer",
    "Traced",
    "check_ids",
    "log_softmax",
    "pieces",
]

Logits = NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]  # called with (done, total), in tokens or rows

PIECE = 64  # tokens of a sequence per call of a model, at most
LOGITS_HELD = 1 << 24  # logits of one call, at most: 128 MiB in float64


class LanguageModel(Protocol):
    """A model that reads ids in pieces and keeps its state outside.

    Attributes
    ----------
    vocab_size : int
        Columns of the logits.
    valid_vocab : int
        Ids from here on are padding of the vocabulary: never read, never predicted.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def valid_vocab(self) -> int: ...

    def empty_state(self, batch: int) -> Any:
        """Make the state before the first token of ``batch`` sequences."""
        ...

    def logits(self, ids: NDArray[np.int64], state: Any) -> tuple[Logits, Any]:
        """Map (batch, seqlen) ids to (batch, seqlen, vocab_size) logits, and the state after."""
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
        """Map text to ids, without special ids around it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Map ids to text."""
        ...


def check_ids(ids: ArrayLike, valid_vocab: int) -> NDArray[np.int64]:
    """Return one sequence of ids as (seqlen,) int64.

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
    return given.astype(np.int64)


def pieces(
    models: Sequence[LanguageModel], ids: NDArray[np.int64], piece: int = PIECE
) -> Iterator[tuple[slice, tuple[Logits, ...]]]:
    """Feed (batch, seqlen) ids to every model from its empty state, some tokens at a time.

    At most ``piece`` tokens, and fewer where the logits of a piece would take more than
    ``LOGITS_HELD`` numbers: they never lie whole in memory.

    Yields
    ------
    span, logits
        The columns of ``ids`` just read, and the (batch, span, vocab_size) logits of each model.
    """
    batch, seqlen = ids.shape
    room = LOGITS_HELD // (batch * max(model.vocab_size for model in models))
    step = max(1, min(piece, room))
    states = [model.empty_state(batch) for model in models]
    for start in range(0, seqlen, step):
        span = slice(start, min(start + step, seqlen))
        logits = []
        for i, model in enumerate(models):
            out, states[i] = model.logits(ids[:, span], states[i])
            logits.append(out)
        yield span, tuple(logits)


def log_softmax(logits: Logits, valid_vocab: int) -> NDArray[np.float64]:
    """Map (..., vocab_size) logits to (..., valid_vocab) log-probabilities in nats, in float64.

    The probabilities of the valid ids sum to one: the padding of the vocabulary takes no share.
    """
    valid = logits[..., :valid_vocab].astype(np.float64)
    valid -= valid.max(axis=-1, keepdims=True)
    valid -= np.log(np.exp(valid).sum(axis=-1, keepdims=True))
    return valid
