"""Sources that results depend on, as a hash of their code.

A row of results keeps the hash of what made it. When that has changed since, the table that shows
the row says so. Comments do not count, and in Python neither do docstrings, the format of the code
and texts of errors.
"""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["SOURCES", "source_hash"]

PACKAGE = Path(__file__).parents[1] / "src/lightmamba"
NUMERICS = ("numerics", "blocks", "formats.py", "config.py")
ENGINE = (*NUMERICS, "engine", "native", "qmodel", "runtime", "passes.py", "data")
HARDWARE = ("arch", "machine", "compiler", "rtl")
MACHINE = (*NUMERICS, *HARDWARE, "qmodel", "passes.py", "runtime", "data")
EVENTS = tuple(f"native/events{name}" for name in (".cpp", ".hpp", "_memory.hpp", "_queues.hpp"))
FLOAT = ("checkpoint", "causal_lm.py", "reference.py", "tokenizer.py")
# Parts of the package, by what is made of them.
SOURCES: dict[str, tuple[str, ...]] = {
    "board": (*NUMERICS, *HARDWARE, "soc", "synth", "sim", "boards"),
    "accuracy": (*ENGINE, *FLOAT, "quantization", "evaluate", "sweep"),
    "engine": (*ENGINE, "evaluate", "reference.py"),
    "estimate": (*NUMERICS, "arch", "machine", "compiler", "estimate", "qmodel", *EVENTS),
    "quantize": (*NUMERICS, *FLOAT, "quantization", "qmodel"),
    "serve": (*ENGINE, "serve"),
    "simulation": (*MACHINE, "sim"),
    "synthesis": (*NUMERICS, *HARDWARE, "synth"),
    "targets": ("arch", "machine", "compiler"),
}
CODE = {".py", ".cpp", ".hpp", ".toml", ".json", ".v", ".ys", ".safetensors", ".xz"}
SLASHES = {".cpp", ".hpp", ".v"}  # comments from // to the end of a line
PICTURES = ("plot.py",)
# Files of a kind of layers that only describe its hardware.
OF_HARDWARE = {
    "cells.py", "commands.py", "hardware.py", "layout.py", "normless.py", "observed.py", "steps.py",
}  # fmt: skip
ON_HARDWARE = ("estimate", "simulation", "synthesis")


@cache
def source_hash(name: str) -> str:
    """Hash of one of :data:`SOURCES`, 16 hex digits."""
    found = hashlib.sha256()
    for part in sorted(SOURCES[name]):
        path = PACKAGE / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            other = file.name in OF_HARDWARE and part == "blocks" and name not in ON_HARDWARE
            other |= part == "native" and file.name.startswith("events")  # of the estimate alone
            if file.suffix in CODE and file.name not in PICTURES and not other:
                found.update(file.relative_to(PACKAGE).as_posix().encode())
                found.update(_content(file))
    return found.hexdigest()[:16]


@cache
def _content(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".py":
        return repr(_plain(_Code().visit(ast.parse(data)))).encode()
    return re.sub(rb"\s*//.*", b"", data) if file.suffix in SLASHES else data


def _plain(node: Any) -> Any:
    """A syntax tree as tuples, without empty fields: the same for every version of Python."""
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node)]
        return type(node).__name__, [each for each in fields if each[1] not in (None, [])]
    return [_plain(each) for each in node] if isinstance(node, list) else node


class _Code(ast.NodeTransformer):
    """Takes docstrings and the texts of errors out."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a statement that is only a text, such as a docstring."""
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep that an error is raised, and not what it says."""
        return ast.Raise()
