"""Contents of a package's files: the map of the accelerator, and the board's templates."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

from lightmamba.arch.place import Place
from lightmamba.device.package.board import Board
from lightmamba.device.package.design import CONTROL, CONTROL_BYTES, KERNEL, Block, Design
from lightmamba.device.package.noc import PROCESSORS, network
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.registers import INTERFACE, MAGIC
from lightmamba.hardware.soc.board import RESETS, TOP
from lightmamba.hardware.synth.ecp5 import DEVICE

__all__ = [
    "MAP",
    "REGISTER_WINDOW",
    "machine_map",
    "render",
    "rendered",
    "templates",
    "text_of",
]

MAP = "map.json"
MAP_VERSION = 1
COMMON = "common"  # folder of the templates that all boards share
TEMPLATE = ".j2"  # ending of what becomes a file; -- in its name is a folder separator
REGISTER_WINDOW = 1 << 16  # bytes of address space that block designs give the registers
EXECUTABLE = (".py", ".sh")
# Common templates that a flow does not use: its host is a computer, where pip installs everything.
LEFT_OUT = {"ecp5": {"driver--requirements.txt.j2"}}


def machine_map(design: Design) -> dict[str, Any]:
    """Information for a host: registers, their values, addresses to relocate, memory.

    ``settings`` are the values of the registers before the first token; those that are addresses
    are in ``relocation`` instead: base of the channel plus ``offset``.
    """
    artifact, board = design.artifact, design.board
    numbers = {
        name: value
        for name, value in artifact.registers.items()
        if not isinstance(value, Place | list)
    }
    return {
        "version": MAP_VERSION,
        "board": board.name,
        "kernel": KERNEL,
        "magic": MAGIC,
        "hash": build_hash(artifact.arch),
        "interface": INTERFACE,
        "fingerprint": artifact.fingerprint,
        "clock_hz": design.clock_hz,
        "control": {
            "interface": design.control,
            "base": board.register_base,
            "bytes": CONTROL_BYTES,
            "interrupt": board.interrupt,
        },
        "registers": [
            {"name": one.name, "offset": one.offset, "bits": one.bits, "access": one.access}
            for one in design.entries
        ],
        "settings": numbers,
        "relocation": design.relocations(),
        "channels": [_channel(block) for block in design.blocks],
        "regions": [asdict(region) for region in artifact.regions],
    }


def _channel(block: Block) -> dict[str, Any]:
    memory = block.memory
    return {
        "name": block.name,
        "bytes": block.bytes,
        "alignment": block.alignment,
        "memory": memory.tag,
        "device": memory.device or None,
        "windows": [[one.base, one.bytes] for one in memory.windows],
        "interfaces": [one.bus for one in block.interfaces],
    }


def text_of(values: Mapping[str, Any]) -> str:
    """JSON as the files of a package have it: the same text for the same values."""
    return json.dumps(values, sort_keys=True, indent=1, allow_nan=False) + "\n"


def rendered(design: Design, figures: Mapping[str, Any]) -> dict[str, str]:
    """Text of every file that comes from a template, by its place in the package.

    Parameters
    ----------
    design
        What the templates are about.
    figures
        What the estimate expects, for the README.
    """
    sources = templates(design.board)
    left_out = LEFT_OUT.get(design.board.flow, set())
    return {
        name.removesuffix(TEMPLATE).replace("--", "/"): render(sources, name, design, figures)
        for name in sorted(sources.keys() - left_out)
        if name.endswith(TEMPLATE)
    }


def templates(board: Board) -> dict[str, str]:
    """Text of a board's templates, and of what they include, by name."""
    sources: dict[str, str] = {}
    for folder in (COMMON, board.templates):
        at = resources.files("lightmamba.device.package") / "boards" / folder
        sources |= {entry.name: entry.read_text(encoding="utf-8") for entry in at.iterdir()}
    return sources


def render(
    sources: Mapping[str, str], name: str, design: Design, figures: Mapping[str, Any]
) -> str:
    """Text of one template; arguments as for :func:`templates` and :func:`rendered`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,  # text, no HTML
    )  # fmt: skip
    environment.filters |= {"tcl": _tcl, "cells": _cells, "address": _address}
    return environment.get_template(name).render(
        design=design, board=design.board, artifact=design.artifact, figures=figures,
        kernel=KERNEL, control=CONTROL, window=REGISTER_WINDOW, processors=PROCESSORS,
        net=network(design) if design.board.controllers else None,
        control_bytes=CONTROL_BYTES, top=TOP, resets=RESETS, device=" ".join(DEVICE),
    )  # fmt: skip


def _tcl(text: str) -> str:
    """A word of Tcl, in braces."""
    if text.count("{") != text.count("}") or "\\" in text:
        raise ValueError(f"{text!r} cannot be put in braces")
    return "{" + " ".join(text.split()) + "}"


def _cells(number: int) -> str:
    """64 bits as two cells of a device tree."""
    return f"{number >> 32:#x} {number & 0xFFFFFFFF:#010x}"


def _address(number: int) -> str:
    """An address, of eight digits at least."""
    return f"{number:#010x}"
