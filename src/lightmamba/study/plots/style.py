"""Colors, marks and type of every picture, and its way into a file or a page."""

import functools
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, ParamSpec, TypeVar
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lightmamba.common.errors import InputError

__all__ = ["COLORS", "MARKS", "WIDTH", "even_axis", "log_axis", "new", "png", "styled", "svg"]

P = ParamSpec("P")
T = TypeVar("T")
Form = str | Callable[[float, float], str]  # of ticks, as matplotlib takes it
WIDTH = 10.0  # inches of a picture for a page, at 72 dots each
# On a light page; a page's style sheet may give the same names other colors (`var(--ink)`).
COLORS: Mapping[str, str] = MappingProxyType({
    "paper": "#fffefb", "ink": "#1d1f23", "soft": "#63676e", "hair": "#dcd9d1", "tint": "#f5f3ec",
    "estimated": "#1f5f99", "simulated": "#b4521e", "published": "#767067",
    "synthesized": "#3c7a4d",
    "band": "#c9d9e8",
    "multiplying": "#20609a", "scale": "#86b0d6", "wait_activation": "#e0a458",
    "wait_memory": "#b5531f", "wait_epilogue": "#8a5a83", "idle": "#c9c5bb",
})  # fmt: skip
_HOLLOW = {"markerfacecolor": COLORS["paper"], "markeredgewidth": 1.7, "linestyle": "none"}
MARKS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "published": _HOLLOW | {"marker": "s", "markersize": 7, "color": COLORS["published"]},
    "estimated": _HOLLOW | {"marker": "o", "markersize": 8, "color": COLORS["estimated"]},
    "simulated": {"marker": "o", "markersize": 9, "linestyle": "none",
                  "color": COLORS["simulated"]},
    "here": _HOLLOW | {"marker": "o", "markersize": 13, "markerfacecolor": "none",
                       "color": COLORS["ink"]},
})  # fmt: skip
TYPE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 11.5, "axes.labelsize": 11, "xtick.labelsize": 11,
    "ytick.labelsize": 11, "legend.fontsize": 10.5, "text.color": COLORS["ink"],
    "axes.labelcolor": COLORS["soft"], "xtick.color": COLORS["soft"],
    "ytick.color": COLORS["soft"], "axes.edgecolor": COLORS["soft"],
    "grid.color": COLORS["hair"], "grid.linewidth": 0.7, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "axes.titlesize": 11, "axes.titlecolor": COLORS["soft"], "legend.frameon": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "svg.fonttype": "none",
}  # fmt: skip


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function in the project's type and colors; matplotlib keeps its own elsewhere."""

    @functools.wraps(draw)
    def within(*args: P.args, **keywords: P.kwargs) -> T:
        with matplotlib.rc_context(TYPE):
            return draw(*args, **keywords)

    return within


def new(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of :data:`WIDTH`, and its axes.

    Parameters
    ----------
    height : float
        Inches.
    rows, columns : int
        Of axes.
    options
        As :meth:`matplotlib.figure.Figure.subplots` takes them.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def even_axis(axes: Axes, form: Form) -> None:
    """Round ticks on the horizontal axis, with faint lines."""
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(form)
    axes.grid(axis="x")


def log_axis(axes: Axes, way: Literal["x", "y"], form: Form) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5 of each decade and faint lines."""
    (axes.set_xscale if way == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if way == "x" else axes.yaxis
    low, high = axes.get_xlim() if way == "x" else axes.get_ylim()
    subs = (1, 2, 5) if high < 500 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(form)
    axis.set_minor_formatter(NullFormatter())
    axes.grid(axis=way)


@styled
def png(figure: Figure, path: Path) -> None:
    """Write a picture to a file; the suffix chooses the format.

    Raises
    ------
    InputError
        If the file cannot be written, or matplotlib does not know the suffix.
    """
    try:
        figure.savefig(path, dpi=110, facecolor=COLORS["paper"])
    except OSError as error:
        raise InputError(f"cannot draw to {path}: {error.strerror}; give another place") from error
    except ValueError as error:
        raise InputError(f"cannot draw to {path}: {error}; try ranges.png") from error


@styled
def svg(figure: Figure, name: str, about: str) -> str:
    """The picture as an element of an HTML page.

    Colors are variables of the page's style sheet, so that they follow a dark page. Nothing in
    it refers to another file, and no id occurs in another picture.

    Parameters
    ----------
    figure
        What to draw.
    name : str
        Letters; other pictures of the page have other names.
    about : str
        Description of what the picture shows, for those who do not see it.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(text.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    elements = list(root.iter())
    referred = set(re.findall(r"#([\w-]+)", " ".join(_references(elements))))
    for element in elements:
        element.text, element.tail = (
            text if text and text.strip() else None for text in (element.text, element.tail)
        )
        element.tag = _local(element.tag)
        found = {_local(key): value for key, value in element.attrib.items()}
        if found.get("id") not in referred:
            found.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _shared(key, value, name) for key, value in found.items()})
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": about, "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _references(elements: list[ElementTree.Element]) -> list[str]:
    return [
        value
        for element in elements
        for key, value in element.attrib.items()
        if _local(key) in ("href", "clip-path", "style")
    ]


def _shared(key: str, value: str, name: str) -> str:
    """An attribute with ids that are the picture's own, and colors by name."""
    if key == "id":
        return f"{name}-{value}"
    if key in ("href", "clip-path"):
        return value.replace("#", f"#{name}-")
    if key == "d":
        return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}", value).replace(
            "\n", ""
        )
    if key == "style":
        for color, digits in COLORS.items():
            value = value.replace(digits, f"var(--{color})")
        return re.sub(r"font: [^;]*?(\d[\d.]*px)[^;]*", r"font-size: \1", value)
    return value
