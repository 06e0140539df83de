"""The worker's side of the benchmark of engines: one task per line of JSON, one answer per line.

Standard library only, as :mod:`lightmamba.common.speed`: the worker of llama.cpp runs in an
environment of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightmamba.common.speed import Fed, decode, prompt

__all__ = ["memory", "serve"]


def memory(process: int | str = "self") -> dict[str, int]:
    """Bytes that are resident now, of these in files, and the most there were.

    Of a process, by default this one. From /proc: ``ru_maxrss`` of a process that another started
    may be the other's. Empty where there is no /proc.
    """
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        return {}
    found = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    names = {"resident": "VmRSS", "in_files": "RssFile", "peak": "VmHWM"}
    return {name: int(found[key].split()[0]) * 1024 for name, key in names.items()}


def serve(make: Callable[[], Fed]) -> None:
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
