"""A sweep that kills its own process at a chosen moment; started by test_killed."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightmamba.evaluate.journal import Journal as Evaluation
from lightmamba.quantization import api
from lightmamba.quantization.journal import Journal
from lightmamba.study.sweep import sweep
from tests.sweep.cases import plan_of


def dying(root: Path, folder: Path, when: str, count: int) -> None:
    """Run a sweep; the process is gone at the ``count``-th event, which it leaves half written.

    ``when`` is "part" (the quantizer keeps a finished part) or "record" (an evaluation writes down
    what it found).
    """
    torch.set_num_threads(1)  # a pool of threads does not survive the fork
    left = count
    owner: Any = {"part": Journal, "record": Evaluation}[when]
    name = {"part": "put", "record": "add"}[when]
    real = getattr(owner, name)

    def counted(journal: Any, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            if when == "record":
                with journal.path.open("ab") as file:
                    file.write(b'{"key":"1a')
            os.kill(os.getpid(), signal.SIGKILL)
        return real(journal, *args)

    setattr(owner, name, counted)
    vars(api)["Journal"] = partial(_at_once, Journal)  # or it writes down nothing in ten seconds
    sweep(plan_of(root), folder, workers=0)


def _at_once(kind: Any, folder: Path, manifest: Any, least: float, **options: Any) -> Any:
    return kind(folder, manifest, 0.0, **options)
