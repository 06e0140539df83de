"""``lightmamba completion``: a shell's script that completes verbs, options, names and files.

The scripts are static: pressing the tab key starts no Python.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import shtab

from lightmamba.arch.target import target_names
from lightmamba.cli.arguments import FLOWS
from lightmamba.cli.main import build_parser
from lightmamba.cli.models import FORMATS
from lightmamba.cli.show import say
from lightmamba.device.host.devices import device_names
from lightmamba.device.package import board_names
from lightmamba.model.config import PUBLISHED
from lightmamba.model.data import BUNDLED

__all__ = ["run"]

# What an argument takes, by the words of its metavar.
FILES = {"FILE", "BUILD", "MODEL", "CKPT", "PLAN"}
FOLDERS = {"DIR"}
OPEN = {"target", "recipe"}  # shipped ones, by name, and files


def run(args: argparse.Namespace) -> dict[str, Any]:
    parser = build_parser()
    names = _names()
    for verb in _verbs(parser).values():
        for action in verb._actions:
            _describe(action, names)
    script = shtab.complete(parser, args.shell)
    say(script)
    return {"shell": args.shell, "script": script}


def _verbs(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    verbs: Mapping[str, argparse.ArgumentParser] = found.choices
    return verbs


def _names() -> dict[str, Sequence[str]]:
    """Words that arguments take, by the arguments' names."""
    # Their module needs torch, which a plain installation does not have.
    recipes = Path(__file__).parents[1] / "quantization/recipes"
    return {
        "target": target_names(), "recipe": sorted(path.stem for path in recipes.glob("*.toml")),
        "board": board_names(),
        "format": list(FORMATS), "flow": FLOWS,
        "device": ("engine", *device_names()), "torch_device": ("auto", "cpu", "cuda", "mps"),
    }  # fmt: skip


def _describe(action: argparse.Action, names: Mapping[str, Sequence[str]]) -> None:
    """Tell shtab what completes an argument; parsers that only write scripts may have choices."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    words = set(re.findall(r"\w+", metavar))
    known = list(names.get(action.dest, ()))
    if "SHAPE" in words:
        known += PUBLISHED
    takes_models = action.dest == "file" and "BUILD" in words  # of the hub too
    if takes_models or getattr(action.type, "__name__", "").startswith("bundled"):
        known.append(BUNDLED)
    files = action.dest in OPEN or words & FILES or action.type is Path
    how: Any = None
    if known and files:
        how = _mixed(action.dest, known)
    elif known:
        action.choices = known
    elif words & FOLDERS:
        how = shtab.DIRECTORY
    elif files:
        how = shtab.FILE
    if how is not None:
        action.complete = how  # type: ignore[attr-defined]


def _mixed(name: str, words: Sequence[str]) -> dict[str, Any]:
    """Completes words and files; a function of this name in each shell."""
    listed = " ".join(words)
    key = f"_lightmamba_{name}_{len(words)}_file"  # bash treats as files what *_file completes
    return {
        "bash": key,
        "zsh": key,
        "fish": f"(printf '%s\\n' {listed}; __fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f'{key}() {{\n  compgen -W "{listed}" -- "$1"\n  compgen -f -- "$1"\n}}',
            "zsh": f"{key}() {{\n  _alternative 'names:name:({listed})' 'files:file:_files'\n}}",
        },
    }
