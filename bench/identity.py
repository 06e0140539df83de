"""Hashes of what a figure of hardware measured.

A simulated row is of a machine in Verilog (without the hash of its own build), its program and
registers, its memory (the target's numbers, the C++ model, the harness), the run's own parameters
(seeds, stalls, tokens), and the version of Verilator. A synthesized row is of a Verilog, of what
runs the tools, and of their versions. A row is current as long as today's hash is that of the row:
comments, docstrings and moved files change none.
"""

import ast
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.faults import imports_package
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.files import replace_file
from lightmamba.common.tools import cache_folder
from lightmamba.device.sim.tools import find_verilator
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import fitting, plan
from lightmamba.hardware.compiler.program import LayerNumbers, program
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "HARNESS",
    "Random",
    "combined",
    "simulated",
    "source_hash",
    "synthesized",
    "verilog_hash",
]

PACKAGE = Path(__file__).parents[1] / "src/lightmamba"
RTL = (
    *("hardware/rtl/**/*.py", "hardware/machine/*.py", "arch/*.py", "numerics/*.py"),
    *("blocks/*.py", "blocks/*/*.py"),
)
HOST = (*RTL, "hardware/compiler/*.py", "model/qmodel/*.py")  # of the program and the registers
HARNESS = ("device/sim/*.cpp", "device/sim/*.hpp", "device/sim/simulator.py", "arch/pace.py")
SYNTHESIS = tuple(f"hardware/synth/{each}" for each in ("*.py", "*.v", "*.ys", "cells/*.v"))
COMMENTS = {".cpp": "//", ".hpp": "//", ".v": "//", ".ys": "#"}  # to the end of a line


@dataclass(frozen=True)
class Random:
    """A model of random weights."""

    config: ModelConfig
    formats: Formats = field(default_factory=Formats)
    seed: int = 0

    def made(self) -> QuantizedModel:
        """The model, whose layers are made when they are asked for."""
        return random_model(self.config, self.formats, self.seed, lazy=True)


def combined(*parts: Any) -> str:
    """Hash of plain values, 16 hex digits."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def source_hash(patterns: Iterable[str]) -> str:
    """Hash of the code of files below the package, without comments and docstrings."""
    found = hashlib.sha256()
    for file in sorted({file for each in patterns for file in PACKAGE.glob(each)}):
        data = file.read_text(encoding="utf-8")
        found.update(f"{file.name}\n{code(data, file.suffix)}".encode())
    return found.hexdigest()


def code(text: str, suffix: str) -> str:
    """Text of a file without its comments.

    Of Python it is the syntax tree, the same in every version of Python, without docstrings, texts
    of errors and imports from the package.
    """
    if suffix == ".py":
        return repr(_plain(_Code().visit(ast.parse(text))))
    return re.sub(rf"\s*{COMMENTS[suffix]}.*", "", text) if suffix in COMMENTS else text


def _plain(node: Any) -> Any:
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node)]
        return type(node).__name__, [each for each in fields if each[1] not in (None, [])]
    return [_plain(each) for each in node] if isinstance(node, list) else node


class _Code(ast.NodeTransformer):
    """Takes docstrings, the texts of errors and imports from the package out."""

    def visit(self, node: ast.AST) -> Any:
        """Drop an import from the package: its path is another when files move."""
        return None if imports_package(node) else super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a statement that is only a text, such as a docstring."""
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep that an error is raised, and not its text."""
        return ast.Raise()


def _kept(key: str, make: Callable[[], str]) -> str:
    """A hash from the cache; making it takes up to a minute and a half."""
    path = cache_folder("identities") / key
    if not path.is_file():
        found = make()
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(found)
        replace_file(aside, path)
    return path.read_text()


def verilog_hash(arch: ArchConfig, *, observed: bool = False) -> str:
    """Hash of the Verilog of a machine."""
    import amaranth

    def make() -> str:
        from lightmamba.hardware.rtl.top import to_verilog

        text = to_verilog(arch, observed=observed, build_hash=0)
        return hashlib.sha256(text.encode()).hexdigest()

    return _kept(combined(source_hash(RTL), amaranth.__version__, asdict(arch), observed), make)


def simulated(
    model: Random | Path,
    target: Target,
    *,
    order: str = "reordered",
    hardware: ArchConfig | None = None,
    context: int | None = None,
    run: Any = None,
) -> str:
    """Hash of a simulation.

    Parameters
    ----------
    model
        Sizes and seed of a random model, or a quantized file.
    target, order, hardware, context
        As :func:`lightmamba.hardware.compiler.build` takes them.
    run
        What the benchmark does with it, as plain values: seeds, stalls, tokens.
    """
    if isinstance(model, Path):
        file, named = load(model), hashlib.sha256(model.read_bytes()).hexdigest()
        config, formats = file.config, file.formats
    else:
        config, formats, named = model.config, model.formats, repr(model)
    arch = plan(config, formats, target, order, context=context, hardware=hardware)
    machine = arch if hardware is None else fitting(hardware, arch)

    def make() -> str:
        opened = load(model) if isinstance(model, Path) else model.made()
        memory = Memory(config, formats, arch, target, arch.tokens + 1)
        numbers = [
            LayerNumbers.of(opened, n, arch, memory.blocks(n)) for n in range(config.n_layer)
        ]
        return combined(program(opened, numbers, arch, order), memory.registers(memory.regions()))

    key = combined(source_hash(HOST), np.__version__, named, asdict(arch), asdict(target), order)
    channels = [_without_source(asdict(channel)) for channel in target.channels]
    return combined(
        verilog_hash(machine, observed=True), _kept(key, make), channels, target.clock_mhz,
        source_hash(HARNESS), find_verilator().version, run,
    )  # fmt: skip


def synthesized(verilog: str, *tools: str, run: Any = None) -> str:
    """Hash of a synthesis or a placement: of the Verilog, the tools with versions, parameters."""
    return combined(verilog, source_hash(SYNTHESIS), tools, run)


def _without_source(channel: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in channel.items() if name != "source"}
