"""Write a package: a folder that goes to a machine with a board's tools, and is built there."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from lightmamba.common.errors import InputError
from lightmamba.common.files import aside, check_replaced, replace_folder, sha256_of
from lightmamba.device.boards import selftest
from lightmamba.device.package import ecp5, vendor
from lightmamba.device.package.board import Board
from lightmamba.device.package.check import MANIFEST, check
from lightmamba.device.package.contents import EXECUTABLE, MAP, machine_map, rendered, text_of
from lightmamba.device.package.design import Design, design
from lightmamba.device.sim.device import verilog_of
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model, sizes
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.machine.artifact import MANIFEST as BUILD
from lightmamba.hardware.machine.artifact import VERILOG, Artifact
from lightmamba.hardware.machine.manifest import seal
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["Package", "check_output", "expected", "write_package"]

LICENCE = "LICENSE"
DATA = "data"  # a build directory without its Verilog, as the host's runtime opens it
EXPECTED = "driver/expected.json"
PROMPT, TOKENS = (1, 2, 3), 6  # ids that every vocabulary has, then greedy decoding; tokens in all
LARGEST = 256 << 20  # bytes of images of a random model that is made again from its seed for this
SOURCES: Mapping[str, Callable[[Design, str], dict[str, str]]] = {  # by flow of the board
    "kernel": vendor.sources, "zynqmp": vendor.sources, "versal": vendor.sources,
    "ecp5": ecp5.sources,
}  # fmt: skip


@dataclass(frozen=True)
class Package:
    """A package that was written.

    Parameters
    ----------
    path : Path
    board : str
    files : tuple of str
        All of them, sorted.
    checks : {name: bool}
        Whether each passed.
    tools : {name: versions}
        That its scripts ask for.
    """

    path: Path
    board: str
    files: tuple[str, ...]
    checks: Mapping[str, bool]
    tools: Mapping[str, tuple[str, ...]]


def check_output(path: Path, *, force: bool) -> None:
    """Refuse before the work what would only show after it.

    Raises
    ------
    InputError
        If ``path`` exists and is no package or ``force`` is not given, or has no folder.
    """
    check_replaced(path, MANIFEST, "package", force=force)


def write_package(artifact: Artifact, board: Board, out: Path, *, force: bool = False) -> Package:
    """Write a package aside, check it, and put it in its place.

    The same build gives the same bytes. Large files are hard links to those of the build where the
    file system allows it.

    Parameters
    ----------
    artifact
        The build, with or without Verilog.
    board
        Which its target must describe.
    out
        Folder to make.
    force
        Replace a package that is there.

    Raises
    ------
    InputError
        If the build is for another board, is damaged, or the folder cannot be made.
    """
    check_output(out, force=force)
    made = design(artifact, board)
    artifact.verify()
    texts = {
        **rendered(made, _figures(made)),
        **SOURCES[board.flow](made, verilog_of(artifact)),
        MAP: text_of(machine_map(made)),
        EXPECTED: text_of(expected(artifact)),
        LICENCE: _licence(),
        f"{DATA}/{BUILD}": _manifest(artifact),
    }
    try:
        with aside(out) as folder:
            for name, text in texts.items():
                _place(folder / name)
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
                (folder / name).chmod(0o755 if name.endswith(EXECUTABLE) else 0o644)
            for name in _kept(artifact):
                _link(artifact.path / name, _place(folder / DATA / name))
            files = _list(artifact, folder)
            checks = check(made, folder)
            folder.chmod(0o755)
            replace_folder(folder, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; nothing was replaced") from error
    return Package(out, board.name, files, checks, board.tools)


def expected(artifact: Artifact) -> dict[str, Any]:
    """Digests of a short run, made by the engine.

    ``steps`` are tokens of one sequence: the id that goes in, the arg-max that comes out, and the
    SHA-256 of the logits as little-endian 32-bit integers, ``vocab_size`` of them. ``self_test`` is
    what :mod:`lightmamba.device.boards.selftest` needs. A large random model has no ``steps`` and
    no ``self_test``: to make its weights again would take minutes.
    """
    model = None if _too_long(artifact) else open_model(artifact)
    return {
        "fingerprint": artifact.fingerprint,
        "steps": [] if model is None else _steps(model),
        "self_test": None if model is None else selftest.expected(artifact, model).to_dict(),
    }


def _too_long(artifact: Artifact) -> bool:
    return artifact.model["kind"] == "random" and artifact.image_bytes > LARGEST


def _steps(model: QuantizedModel) -> list[dict[str, Any]]:
    engine = Engine(model)
    state, token, steps = engine.empty_state(1), 0, []
    for n in range(TOKENS):
        token = PROMPT[n] % model.valid_vocab if n < len(PROMPT) else token
        logits, state = engine.step(np.array([token]), state)
        following = int(np.argmax(logits[0, : model.valid_vocab]))
        digest = hashlib.sha256(np.ascontiguousarray(logits[0], dtype="<i4").tobytes())
        steps.append({"token": token, "next": following, "logits_sha256": digest.hexdigest()})
        token = following
    return steps


def _figures(made: Design) -> dict[str, Any]:
    """Estimate of the build, shares of the device, and where its model comes from."""
    artifact = made.artifact
    config, formats = sizes(artifact.model)
    context = artifact.arch.context or None
    found = estimate(config, formats, artifact.target, artifact.order, context=context)
    total, device = found.total, artifact.target.resources
    cells = {
        name: (getattr(total, name), getattr(device, name) if device else None)
        for name in ("lut", "ff", "dsp", "bram18", "uram") if found.resources
    }  # fmt: skip
    moved = {
        name: found.channel_bytes[name] * found.tokens_per_second / 1e9
        for name in artifact.extents()
    }
    return {
        "estimate": found, "config": config, "cells": cells, "gb_per_s": moved,
        "source": _source(artifact),
    }  # fmt: skip


def _source(artifact: Artifact) -> dict[str, Any]:
    """Name and licence of the checkpoint that the model was made from, as its file tells them."""
    found: dict[str, Any] = {"name": "a model whose file does not name its source", "licence": None}
    if artifact.model.get("kind") != "random":
        origin = open_model(artifact).origin.get("source")
        found |= origin if isinstance(origin, dict) else {}
    return found


def _licence() -> str:
    """Text of the project's licence: of the installed package, or of the clone that runs."""
    clone = Path(__file__).parents[4] / LICENCE
    text = metadata.distribution("lightmamba").read_text(f"licenses/{LICENCE}")
    if text is None and not clone.is_file():
        raise InputError("this installation of lightmamba lacks its LICENSE; install it again")
    return text or clone.read_text(encoding="utf-8")


def _kept(artifact: Artifact) -> list[str]:
    """Files of the build that go into the package as they are."""
    return sorted(name for name in artifact.files if name != VERILOG)


def _manifest(artifact: Artifact) -> str:
    """The build's manifest without the Verilog, which lies in ``rtl/``."""
    values = json.loads((artifact.path / BUILD).read_text(encoding="utf-8"))
    values["files"].pop(VERILOG, None)
    values["sha256"] = seal(values)
    return text_of(values)


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _link(source: Path, target: Path) -> None:
    """Link a file at another place, or copy it where a hard link is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _list(artifact: Artifact, folder: Path) -> tuple[str, ...]:
    """Write hashes of all files, as ``sha256sum -c`` reads them; the files, sorted."""
    known = {f"{DATA}/{name}": artifact.files[name].sha256 for name in _kept(artifact)}
    there = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    lines = [f"{known.get(name) or sha256_of(folder / name)}  {name}\n" for name in there]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")
    (folder / MANIFEST).chmod(0o644)
    return tuple(sorted([*there, MANIFEST]))
