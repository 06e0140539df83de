"""Drafters: propose the next tokens of a text, which the model verifies in one pass.

Drafting changes when a token comes, never which one: every token is drawn from the model's own
logits.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.text.continuation import Decoder
from lightmamba.text.pace import MOST

__all__ = [
    "Drafter", "ModelDrafter", "NgramDrafter", "PiecewiseDrafter", "Trial", "drafter_of",
    "most_drafted",
]  # fmt: skip

Trial = Callable[[NDArray[np.int32], int], int]  # logits (1, vocab) and their exponent to an id


def most_drafted(decoder: Decoder) -> int:
    """Most drafted tokens that a decoder verifies in a pass; 0 if it takes one token at a time."""
    return min(MOST, decoder.undecided)


class Drafter(Protocol):
    """Draft tokens for one text, which is asked again and again as the text grows."""

    def draft(self, ids: Sequence[int], most: int, trial: Callable[[], Trial]) -> Sequence[int]:
        """Draft what follows.

        Parameters
        ----------
        ids
            All of the text, prompt included; the beginning is what it was at the last call.
        most
            Number of tokens, at most; the result is shorter if no more can be drafted.
        trial
            Gives what draws from logits as the text's own draws will, so that a drafter with logits
            proposes what is drawn, not only what is likely.
        """
        ...


class PiecewiseDrafter(Drafter, Protocol):
    """A drafter that can read a long text in pieces, so that others need not wait for it.

    Attributes
    ----------
    piece
        Tokens that are read at once, about as fast as the model verifies its drafts.
    """

    piece: int

    def unread(self, ids: Sequence[int]) -> int:
        """How many of ``ids`` the next call of :meth:`draft` has to read, at most."""
        ...

    def read(self, ids: Sequence[int], most: int) -> None:
        """Read up to ``most`` further tokens of ``ids``, but not the last one."""
        ...

    def bytes_for(self, tokens: int, most: int) -> int:
        """Bytes for a text of ``tokens`` tokens, with up to ``most`` drafted tokens at a time."""
        ...


class _Ids(Protocol):
    """Object with a vocabulary."""

    @property
    def valid_vocab(self) -> int: ...


class NgramDrafter(PiecewiseDrafter):
    """Propose what followed the last time that the text's last tokens occurred.

    It needs no model and no time, and is right where a text repeats itself or its prompt: edits,
    lists, quotations, code. Known as prompt lookup.

    Parameters
    ----------
    longest, shortest
        Tokens that have to be the same, as many as there are.
    """

    piece = 1024  # some milliseconds
    _bytes = 160  # of an n-gram in the dictionary

    def __init__(self, longest: int = 4, shortest: int = 3) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._after: dict[tuple[int, ...], int] = {}  # n-gram: where what followed it begins
        self._known = 0

    def draft(self, ids: Sequence[int], most: int, trial: Callable[[], Trial]) -> Sequence[int]:
        self.read(ids, len(ids))
        for size in self._sizes:
            at = self._after.get(tuple(ids[-size:])) if size <= len(ids) else None
            if at is not None:
                return _repeated(ids, at, most)
        return ()

    def unread(self, ids: Sequence[int]) -> int:
        return len(ids) - self._known

    def read(self, ids: Sequence[int], most: int) -> None:
        last = min(len(ids) - 1, self._known + most)
        for end in range(self._known + 1, last + 1):
            for size in self._sizes:
                if size <= end:
                    self._after[tuple(ids[end - size : end])] = end
        self._known = max(self._known, last)

    def bytes_for(self, tokens: int, most: int) -> int:
        return tokens * len(self._sizes) * self._bytes


def _repeated(ids: Sequence[int], at: int, most: int) -> list[int]:
    """Token after ``at``; past the end of the text, of the draft itself."""
    period = len(ids) - at
    return [ids[at + n % period] for n in range(most)]


class ModelDrafter(PiecewiseDrafter):
    """Propose the tokens of a smaller model with the same vocabulary.

    Parameters
    ----------
    model : Decoder
        Its states have ``fork()``; for a server it has ``state_bytes(tokens)``, as an engine.
    vocabulary
        The target model, or its decoder.

    Raises
    ------
    InputError
        If the two have different vocabularies.
    """

    piece = 32

    def __init__(self, model: Any, vocabulary: _Ids) -> None:
        mine, theirs = model.valid_vocab, vocabulary.valid_vocab
        if mine != theirs:
            raise InputError(
                f"the draft model has a vocabulary of {mine}, but the target model of {theirs}; "
                f"speculation needs a smaller model with the same tokenizer"
            )
        self.model = model
        self._states = [
            model.empty_state(1)
        ]  # after the first `_seen` ids, and after each drafted token
        self._seen = 0
        self._draft: list[int] = []  # ids that the later states have seen

    def draft(self, ids: Sequence[int], most: int, trial: Callable[[], Trial]) -> Sequence[int]:
        state = self._settled(ids)
        if len(ids) == self._seen:  # nothing new to go on from
            return ()
        logits, state = self.model.forward(np.array([ids[self._seen :]]), state)
        self._states, self._seen = [state], len(ids)
        draw, found = trial(), []
        for n in range(most):
            found.append(draw(logits[:, -1], self.model.logit_exponent))
            if n + 1 < most:
                state = state.fork()
                logits, state = self.model.forward(np.array([found[-1:]]), state)
                self._states.append(state)
                self._draft.append(found[-1])
        return found

    def unread(self, ids: Sequence[int]) -> int:
        return len(ids) - self._seen

    def read(self, ids: Sequence[int], most: int) -> None:
        state, end = self._settled(ids), min(len(ids) - 1, self._seen + most)
        if end > self._seen:
            _, state = self.model.forward(np.array([ids[self._seen : end]]), state)
            self._states, self._seen = [state], end

    def bytes_for(self, tokens: int, most: int) -> int:
        return max(1, most) * int(self.model.state_bytes(tokens))

    def _settled(self, ids: Sequence[int]) -> Any:
        """Keep the part of the last draft that was accepted, and the state after it."""
        right = 0
        while right < len(self._draft) and self._draft[right : right + 1] == list(
            ids[self._seen + right : self._seen + right + 1]
        ):
            right += 1
        self._states, self._draft = [self._states[right]], []
        self._seen += right
        return self._states[0]


def drafter_of(name: str, model: QuantizedModel, threads: int) -> Callable[[], PiecewiseDrafter]:
    """Factory of drafters for the texts of a model: ``ngram``, or the path of a smaller one.

    Raises
    ------
    InputError
        If the file cannot be read, or the smaller model has another vocabulary.
    """
    if name == "ngram":
        return NgramDrafter
    if not Path(name).exists():
        raise InputError(
            f"there is no file {name!r} to draft with; give ngram, or a quantized file of a "
            f"smaller model"
        )
    small = Engine(load(Path(name)), threads=threads)
    ModelDrafter(small, model)  # refuses another vocabulary now
    if _words(small.model.tokenizer) != _words(model.tokenizer):
        raise InputError(
            f"{name} has another tokenizer; speculation needs a smaller model with the same"
        )
    return partial(ModelDrafter, small, model)


def _words(tokenizer: bytes | None) -> Any:
    """The vocabulary of a tokenizer.json."""
    return None if tokenizer is None else json.loads(tokenizer).get("model", {}).get("vocab")
