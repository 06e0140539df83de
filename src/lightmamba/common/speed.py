"""Speed of a decoder: tokens per second of a prompt and of a greedy text.

It needs the standard library only: benchmarks time other engines with it, in environments of their
own.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

__all__ = ["Clock", "Fed", "Speed", "Spread", "decode", "measure", "prompt", "spread"]

FIRST = 1  # the token that a decoded text begins with
Clock = Callable[[], float]  # seconds


class Fed(Protocol):
    """One sequence on some engine, decoded greedily."""

    def clear(self) -> None:
        """Forget the sequence."""

    def feed(self, ids: list[int]) -> int:
        """Take further tokens together; the likeliest one to come, from the last one's logits."""


@dataclass(frozen=True)
class Spread:
    """A median and its range."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Speed:
    """Tokens per second.

    Parameters
    ----------
    prompt, generation
        Over all repeats, of a prompt that is taken at once, and of tokens one by one.
    """

    prompt: Spread
    generation: Spread


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(median(values), min(values), max(values))


def decode(fed: Fed, *, warm: int, tokens: int, clock: Clock = time.perf_counter) -> float:
    """Tokens per second of a greedy text of ``tokens``, after ``warm`` that do not count."""
    fed.clear()
    token = FIRST
    for _ in range(warm):
        token = fed.feed([token])
    start = clock()
    for _ in range(tokens):
        token = fed.feed([token])
    return tokens / (clock() - start)


def prompt(fed: Fed, *, ids: list[int], clock: Clock = time.perf_counter) -> float:
    """Tokens per second of a prompt, with logits of the last one only."""
    fed.clear()
    start = clock()
    fed.feed(ids)
    return len(ids) / (clock() - start)


def measure(
    fed: Fed,
    *,
    ids: list[int],
    tokens: int,
    repeats: int,
    clock: Clock = time.perf_counter,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Speed:
    """Time a prompt and a text in turns, after a first turn that does not count.

    Parameters
    ----------
    fed
        What is timed.
    ids
        The prompt.
    tokens
        Tokens to generate, from an empty state.
    repeats
        Turns that count.
    clock
        Seconds.
    progress
        Called with (done, total).
    """
    prompts, texts = [], []
    for turn in range(repeats + 1):
        prompts.append(prompt(fed, ids=ids, clock=clock))
        progress(2 * turn + 1, 2 * repeats + 2)
        texts.append(decode(fed, warm=1, tokens=tokens, clock=clock))
        progress(2 * turn + 2, 2 * repeats + 2)
    return Speed(spread(prompts[1:]), spread(texts[1:]))
