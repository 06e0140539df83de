"""A decoder's state that outlives one text, so that a chat is not read again for each answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.text.continuation import Decoder

__all__ = ["Context"]


class Context:
    """State of one sequence, and the tokens that it has read.

    Attributes
    ----------
    ids : list of int
        Tokens whose effect the state has.
    state : Any
        Of the decoder; None before the first token.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.state: Any = None

    def begin(self, prompt: NDArray[np.int64], empty: Callable[[], Any]) -> list[int]:
        """Return the tokens of a prompt that are not read yet, its last one at least.

        Where the prompt does not begin with what was read, the state is a new one.

        Parameters
        ----------
        prompt
            Ids, (seqlen,) int64.
        empty
            Makes a state that has read nothing.
        """
        ids: list[int] = prompt.tolist()
        known = len(self.ids)
        if self.state is None or known >= len(ids) or ids[:known] != self.ids:
            self.ids, self.state = [], empty()
        return ids[len(self.ids) :]

    def read(self, decoder: Decoder, ids: Sequence[int]) -> NDArray[np.int32]:
        """Feed tokens; logits (1, vocab) of the last one."""
        state, self.state = self.state, None  # if it fails, nothing is known of the state
        logits, state = decoder.forward(np.array([ids], dtype=np.int64), state)
        self.ids += ids
        self.state = state
        last: NDArray[np.int32] = logits[:, -1]
        return last
