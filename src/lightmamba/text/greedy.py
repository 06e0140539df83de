"""One greedy sequence on a decoder, without sampling and text: what benchmarks time."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lightmamba.common.errors import InputError
from lightmamba.common.speed import Clock, Speed, measure
from lightmamba.text.continuation import Decoder

__all__ = ["Greedy", "speed_of"]


class Greedy:
    """A sequence that takes tokens and names the likeliest next one.

    Parameters
    ----------
    decoder
        Computes the logits.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.clear()

    def clear(self) -> None:
        """Begin a sequence."""
        self._state: Any = self.decoder.empty_state(1)

    def feed(self, ids: list[int]) -> int:
        """Take tokens together."""
        logits, self._state = self.decoder.forward(np.array([ids]), self._state)
        return int(logits[0, -1, : self.decoder.valid_vocab].argmax())


def speed_of(
    decoder: Decoder, *, prompt: int = 512, tokens: int = 128, repeats: int = 5,
    clock: Clock = time.perf_counter,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Speed:  # fmt: skip
    """Tokens per second of a prompt and of generation, after a first turn that does not count.

    Parameters
    ----------
    decoder
        What is timed.
    prompt, tokens
        Tokens of the prompt, and tokens to generate, from an empty state.
    repeats
        Turns that count.
    clock
        Seconds.
    progress
        Called with (done, total).

    Raises
    ------
    InputError
        If a number is below 1, or the decoder has no memory for so long a text.
    """
    for name, value in (("prompt", prompt), ("tokens", tokens), ("repeats", repeats)):
        if value < 1:
            raise InputError(f"--{name} must be at least 1, not {value}")
    longest, most = max(prompt, tokens + 1), decoder.context_length
    if most is not None and longest > most:
        raise InputError(
            f"the build has memory for {most:,} tokens of a text, not {longest:,}; ask for at most "
            f"--prompt {most} --tokens {most - 1}"
        )
    ids = [7 * n % decoder.valid_vocab for n in range(1, prompt + 1)]
    return measure(Greedy(decoder), ids=ids, tokens=tokens, repeats=repeats, clock=clock,
                   progress=progress)  # fmt: skip
