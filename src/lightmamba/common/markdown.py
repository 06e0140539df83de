"""Tables in Markdown."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["to_markdown"]

FIGURE = re.compile(r"[*`×x≥≤<>+±~(−-]*\s*\d")  # how a number begins
NEUTRAL = ("", "–", "-", "not run yet")


def to_markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, and later ones align to the right if all are figures."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    marks = ["---"] + ["---:" if _is_figures(column) else "---" for column in _columns(body)[1:]]
    marks += ["---"] * (len(header) - len(marks))
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *body)) + "\n"


def _columns(body: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return list(zip(*body, strict=True)) or [()]


def _is_figures(column: Sequence[str]) -> bool:
    said = [cell for cell in column if cell.strip("*") not in NEUTRAL]
    return bool(said) and all(FIGURE.match(cell) for cell in said)
