"""A run to a file that kills its own process at a chosen moment; started by test_journal.

    python -m tests.quantization.killed CHECKPOINT IDS OUTPUT WHEN COUNT

WHEN is "write" (of a stream), "part" (a finished part is kept) or "add" (how far a run has come);
the process is gone at the COUNT-th of them. 0 lets it live.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from lightmamba.common.store import Store
from lightmamba.model.checkpoint import open_checkpoint
from lightmamba.quantization import Calibration, FileRun, Recipe
from lightmamba.quantization.journal import Journal
from lightmamba.quantization.streams import Rows

PLACES: dict[str, tuple[Any, str]] = {
    "write": (Rows, "write"), "part": (Journal, "put"), "add": (Store, "add"),
}  # fmt: skip


def main(checkpoint: str, ids: str, output: str, when: str, count: str) -> None:
    torch.set_num_threads(1)
    left = int(count)
    owner, name = PLACES[when]
    real = getattr(owner, name)

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(owner, name, counted)
    opened = open_checkpoint(checkpoint)
    tokens, kind = Calibration(ids=Path(ids), sequences=24, seqlen=50).tokens(opened, 0)
    job = FileRun(opened, Recipe.load("w4a4"), tokens, kind, Path(output), least=0.0)
    job.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
