"""Sources that results depend on, as a hash of their code.

A row of results keeps the hash of what made it. When that has changed since, the table that shows
the row says so. Comments, docstrings, the format of the code and texts of errors do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

__all__ = ["SOURCES", "source_hash"]

PACKAGE = Path(__file__).parents[1] / "src/lightmamba"
NUMERICS = ("numerics", "blocks", "formats.py", "config.py")
ENGINE = (*NUMERICS, "engine", "native", "qmodel", "runtime", "passes.py")
MACHINE = (*NUMERICS, "arch", "compiler", "rtl", "qmodel", "passes.py")
# Parts of the package, by what is made of them.
SOURCES: dict[str, tuple[str, ...]] = {
    "accuracy": (*NUMERICS, "engine", "qmodel", "quantization", "causal_lm.py", "evaluate", "data"),
    "engine": ENGINE,
    "estimate": ("arch", "blocks", "compiler", "estimate", "config.py", "formats.py"),
    "quantize": (*NUMERICS, "checkpoint", "quantization", "causal_lm.py", "qmodel"),
    "serve": (*ENGINE, "serve"),
    "simulation": (*MACHINE, "sim"),
    "synthesis": (*NUMERICS, "arch", "compiler", "rtl", "synth"),
    "targets": ("arch",),
}
CODE = {".py", ".cpp", ".hpp", ".toml", ".json", ".v"}
PICTURES = ("plot.py",)


@cache
def source_hash(name: str) -> str:
    """Hash of one of :data:`SOURCES`, 16 hex digits."""
    found = hashlib.sha256()
    for part in sorted(SOURCES[name]):
        path = PACKAGE / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in CODE and file.name not in PICTURES:
                found.update(file.relative_to(PACKAGE).as_posix().encode())
                found.update(_content(file).encode())
    return found.hexdigest()[:16]


@cache
def _content(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return ast.dump(_Code().visit(ast.parse(text))) if file.suffix == ".py" else text


class _Code(ast.NodeTransformer):
    """Takes docstrings and the texts of errors out."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a text that stands alone."""
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep that an error is raised, and not what it says."""
        return ast.Raise()
