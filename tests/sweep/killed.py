"""A sweep that kills its own process at a chosen moment; started by test_killed.

    python -m tests.sweep.killed ROOT FOLDER WHEN COUNT

WHEN is "part" (the quantizer keeps a finished part) or "record" (an evaluation writes down what it
found); the process is gone at the COUNT-th of them, which it leaves half written.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from lightmamba.evaluate.journal import Journal as Evaluation
from lightmamba.quantization import api
from lightmamba.quantization.journal import Journal
from lightmamba.sweep import sweep
from tests.sweep.cases import plan_of


def main(root: str, folder: str, when: str, count: str) -> None:
    left = int(count)
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
    sweep(plan_of(Path(root)), Path(folder), workers=0)


def _at_once(kind: Any, folder: Path, manifest: Any, least: float, **options: Any) -> Any:
    return kind(folder, manifest, 0.0, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
