"""The worker's side of the benchmark of engines: one task per line of JSON, one answer per line.

Standard library only: the worker of llama.cpp runs in an environment of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Decoder", "decode", "memory", "prompt", "serve"]

FIRST = 1  # the token that a decoded text begins with


class Decoder(Protocol):
    """One sequence on some engine, decoded greedily."""

    def clear(self) -> None:
        """Forget the sequence."""

    def feed(self, ids: list[int]) -> int:
        """Take further tokens together; the likeliest one to come, from the last one's logits."""


def decode(decoder: Decoder, *, warm: int, tokens: int) -> float:
    """Tokens per second of a greedy text of ``tokens``, after ``warm`` that do not count."""
    decoder.clear()
    token = FIRST
    for _ in range(warm):
        token = decoder.feed([token])
    start = time.perf_counter()
    for _ in range(tokens):
        token = decoder.feed([token])
    return tokens / (time.perf_counter() - start)


def prompt(decoder: Decoder, *, ids: list[int]) -> float:
    """Tokens per second of a prompt, with logits of the last one only."""
    decoder.clear()
    start = time.perf_counter()
    decoder.feed(ids)
    return len(ids) / (time.perf_counter() - start)


def memory() -> dict[str, int]:
    """Bytes of this process that are resident now, of these in files, and the most there were.

    From /proc: ``ru_maxrss`` of a process that another started may be the other's. Empty where
    there is no /proc.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return {}
    found = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    names = {"resident": "VmRSS", "in_files": "RssFile", "peak": "VmHWM"}
    return {name: int(found[key].split()[0]) * 1024 for name, key in names.items()}


def serve(make: Callable[[], Decoder]) -> None:
    """Answer tasks until the input ends; between them sleep, waiting for the next line.

    What an engine's library prints goes to the standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    decoder = make()

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer("ready")
    for line in sys.stdin:
        task, options = json.loads(line)
        if task == "decode":
            answer(decode(decoder, **options))
        elif task == "prompt":
            answer(prompt(decoder, **options))
        else:
            answer(memory())
