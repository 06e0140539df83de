"""Commands that run on a disk that fails."""

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightmamba.cli import main

__all__ = ["VERBS", "Verb", "prepare", "run_verb"]

NEEDED = (  # by the commands, which take seconds to import them
    "lightmamba.evaluate.comparison", "lightmamba.hardware.rtl.verilog", "lightmamba.quantization",
    "lightmamba.study.explore.study", "lightmamba.study.plots.front",
    "lightmamba.study.sweep.runner", "matplotlib.backends.backend_agg", "torch._dynamo",
)  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A command that writes below a folder.

    Parameters
    ----------
    words
        The command; ``{out}`` is the folder that it writes to, ``{world}`` the one of its inputs.
    files
        Pattern of the files that it makes, below ``{out}``.
    """

    words: str
    files: str


VERBS = {
    "quantize": Verb(
        "quantize {world}/worded -o {out}/model --sequences 2 --seqlen 32", "model"
    ),
    "evaluate": Verb(
        "evaluate {world}/worded.safetensors --against {world}/worded --text {world}/text.txt"
        " --window 64 --batch 1 --journal {out}/journal --results {out}/results.jsonl",
        "results.jsonl",
    ),
    "sweep": Verb("sweep {world}/plan.toml -o {out}/s --workers 0", "s/**/*"),
    "explore": Verb(
        "explore {world}/worded.safetensors --target kv260 --out {out}/front --trials 6"
        " --objectives speed,size", "front/**/*",
    ),
    "compile": Verb(
        "compile {world}/worded.safetensors --target tiny -o {out}/build --no-verilog", "build/**/*"
    ),
    "package": Verb("package {world}/ulx3s --board ulx3s -o {out}/package", "package/**/*"),
}  # fmt: skip


def prepare() -> None:
    """Import what the commands need."""
    for name in NEEDED:
        importlib.import_module(name)


def run_verb(say: Callable[[object], None], words: Sequence[str]) -> None:
    """Run a command on one thread, and say its status and what it wrote to stderr."""
    errors = io.StringIO()
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(errors),
    ):
        status = main([*words, "--threads", "1", "--quiet"])
    say((status, errors.getvalue()))
