"""Options of the verbs: those that all have, those that several share, and how one is said."""

import argparse
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.data import bundled_file

__all__ = ["Options", "at_least"]

# Types of what an option takes, by its metavar; others are text.
TAKES: dict[str, Any] = {"N": int, "MHZ": float, "PENALTY": float}
TAKES |= dict.fromkeys(("FILE", "DIR", "BUILD", "HTML", "PNG"), Path)
# Said once, for the verbs that have them.
SHARED = {
    "build BUILD": "folder that compile made",
    "file FILE or BUILD": "quantized model, bundled, hub id, or a build",
    "model FILE or SHAPE": "quantized file, bundled, or a shape (mamba2-130m, "
    "granite-4.0-h-1b, ...)",
    "--target NAME": "target: u280, vck190, kv260, ulx3s, tiny, ..., or a TOML file",
    "--format": "format of a SHAPE: w4a4, w4a8 or w8a8 (default: w4a4)",
    "--context N": "tokens already in each sequence, for attention layers (default: 1024)",
    "--tokenizer FILE": "tokenizer.json, for a checkpoint without one",
    "--revision": "branch, tag or commit of a hub id",
    "--results FILE": "also add the result to FILE, for report",
    "--cache": "folder for compiled simulators",
    "--speculate ngram|MODEL": "draft tokens from what the text repeats, or with a smaller model, "
    "and verify several per pass: same text, faster",
}
NAMED = {names.partition(" ")[0]: names for names in SHARED}
MORE: dict[str, dict[str, Any]] = {
    "model": {"type": bundled_file},
    "--target": {"required": True},
    "--cache": {"type": Path},
}


class Options:
    """Adds options to the parser of a verb.

    Parameters
    ----------
    parser
        Of the verb, or a group of it.
    """

    def __init__(self, parser: Any) -> None:
        self.parser = parser

    def __call__(self, names: str, text: str, default: Any = None, **more: Any) -> None:
        """Add an option, or an argument that has a place.

        Parameters
        ----------
        names
            Its names, and what it takes, such as ``-o --output DIR``; see :data:`TAKES`.
        text
            Help; a default that it does not name is added.
        default
            Also says what the option takes: a value of its type, nothing (False), or a value each
            of the times that it is given ([]).
        **more
            As :meth:`argparse.ArgumentParser.add_argument` takes it.
        """
        first, *words = names.split(" ")
        flags = [first, *(word for word in words if word.startswith("--"))]
        if metavar := " ".join(words[len(flags) - 1 :]):
            more["metavar"] = metavar
        if metavar in TAKES:
            more = {"type": TAKES[metavar]} | more
        if default is False:
            more["action"] = "store_true"
        elif isinstance(default, list):
            more = {"action": "append", "default": default} | more
        elif default is not None:
            more = {"type": type(default), "default": default} | more
            said = f"{default:g}" if isinstance(default, float) else default
            text += "" if "(default: " in text else f" (default: {said})"
        if getattr(more.get("type"), "__name__", "").startswith("bundled"):
            more["type"] = _refusing(more["type"])
        self.parser.add_argument(*flags, help=text, **more)

    def shared(self, *names: str) -> None:
        """Add options that other verbs have too."""
        for name in names:
            self(NAMED[name], SHARED[NAMED[name]], **MORE.get(name, {}))

    def device(self, *, default: str | None = "engine") -> None:
        """Add ``--device``, ``--device-option``, ``--record`` and ``--force``."""
        what = "sim (Verilator), ulx3s, uio or xrt (boards), ulx3s-sim (a whole board in Verilator)"
        what = what if default is None else f"engine (CPU), {what}"
        self("--device NAME", what, default, required=default is None)
        option = "option of the device, such as xclbin=FILE; repeatable"
        self("--device-option KEY=VALUE", option, [])
        self("--record FILE", "write every call of the driver, for a bug report")
        self("--force", "replace an existing recording", False)

    def decoding(self, *, max_tokens: int) -> None:
        """Add the model, its device, and how tokens are chosen and end."""
        self.shared("file")
        self.device()
        self("--max-tokens", "tokens to generate at most", max_tokens)
        # Of these the model's generation config has defaults, and without one the brackets.
        self("--temperature", "sampling temperature; 0 for greedy (default: 0)", type=float)
        self("--top-k", "sample from the K most likely tokens (default: all)", type=int)
        most = "sample from the most likely tokens of total probability P (default: 1)"
        self("--top-p", most, type=float)
        self("--min-p", "drop tokens below P times the best probability (default: 0)", type=float)
        self("--repetition-penalty", "penalty for repeated tokens (default: 1)", type=float)
        each = "subtracted for each time that a token was generated (default: 0)"
        self("--frequency-penalty PENALTY", each)
        once = "subtracted if a token was generated before (default: 0)"
        self("--presence-penalty PENALTY", once)
        self("--seed", "same seed, same text", 0)
        self.shared("--speculate")
        self("--stop", "stop at this text; repeatable", [])

    def resumes(self, *places: str) -> None:
        """Name files, by options, of which the first that exists lets the same command resume."""
        self.parser.set_defaults(resumes=places)

    def common(self) -> None:
        """Add what every verb has: how it prints, and what of the processor it uses."""
        self("--json", "print one JSON object on stdout", False)
        self("--threads", "CPU threads to use (default: all cores)", os.cpu_count() or 1)
        self("--isa NAME", "instruction set of the CPU's kernels (default: the best)")
        loud = Options(self.parser.add_mutually_exclusive_group())
        loud("-q --quiet", "results and errors only: no notes, no progress", False)
        how = "tell what is loaded, which kernels run and how long it takes, on stderr"
        loud("-v --verbose", how, False)


def at_least(args: argparse.Namespace, **limits: tuple[int, int]) -> None:
    """Refuse numbers that are too small; ``limits`` has the least one, and one that is right."""
    for name, (least, right) in limits.items():
        if (value := getattr(args, name)) is not None and value < least:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be at least {least}, not {value}; try {right}")


def _refusing(read: Callable[[str], str]) -> Callable[[str], str]:
    """Type of an argument that is refused in the words of ``read``."""

    @wraps(read)
    def of(text: str) -> str:
        try:
            return read(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return of
