"""SVG pictures of the docs. Each has a mark of what it shows, by which a test knows an old one."""

import hashlib
import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from lightmamba.study.plots.style import COLORS, styled

__all__ = ["DOCS", "is_current", "text_of", "write"]

DOCS = Path(__file__).parents[1] / "docs"


def mark(shown: object) -> str:
    """Comment with a hash of what a picture shows, as text."""
    return f"<!-- drawn from {hashlib.sha256(str(shown).encode()).hexdigest()[:16]} -->"


def is_current(name: str, shown: object) -> bool:
    """Whether a picture was drawn of this."""
    path = DOCS / name
    return path.is_file() and path.read_text(encoding="utf-8").startswith(mark(shown))


def write(name: str, shown: object, svg: str) -> None:
    """Write a picture below ``docs``, with its mark in place of the head of the XML."""
    (DOCS / name).write_text(f"{mark(shown)}\n{svg[svg.index('<svg') :]}", encoding="utf-8")
    print(f"docs/{name}")


@styled
def text_of(figure: Figure) -> str:
    """The SVG of a figure, the same on every run, with a background for dark pages."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lightmamba"}):
        figure.savefig(text, format="svg", facecolor=COLORS["paper"], metadata={"Date": None})
    return text.getvalue()
