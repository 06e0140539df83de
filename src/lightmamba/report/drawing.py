"""Drawings in SVG whose colours and type come from the page's style sheet."""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from lightmamba.report.scale import Scale

__all__ = ["WIDTH", "Drawing", "text_width"]

WIDTH = 720.0  # units of every drawing; on a screen about as many pixels
TYPE = 12.0  # size of labels, as in the style sheet
MARKS = ("claimed", "estimated", "simulated", "synthesized", "here", "tried")


def text_width(words: str, size: float = TYPE) -> float:
    """About how wide a label is: a little more than a sans serif takes."""
    return 0.56 * size * len(words)


class Drawing:
    """One picture.

    Parameters
    ----------
    height : float
        In the units of :data:`WIDTH`.
    title, about : str
        For those who do not see it: what it is, and what it shows.
    """

    def __init__(self, height: float, title: str, about: str) -> None:
        self.height = height
        self._root = ElementTree.Element(
            "svg", {"viewBox": f"0 0 {WIDTH:g} {height:g}", "role": "img", "aria-label": about}
        )
        ElementTree.SubElement(self._root, "title").text = title

    def _add(self, tag: str, kind: str, **attributes: float | str) -> ElementTree.Element:
        values = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{round(value, 2):g}"
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self._root, tag, {"class": kind, **values})

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight line."""
        self._add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def bar(self, kind: str, x: float, y: float, width: float, height: float) -> None:
        """A rectangle; one without width is left out."""
        if width > 0 and height > 0:
            self._add("rect", kind, x=x, y=y, width=width, height=height)

    def path(
        self, kind: str, points: Iterable[tuple[float, float]], *, close: bool = False
    ) -> None:
        """Straight pieces through points."""
        steps = " L".join(f"{round(x, 1):g} {round(y, 1):g}" for x, y in points)
        self._add("path", kind, d=f"M{steps}" + (" Z" if close else ""))

    def text(
        self, kind: str, x: float, y: float, words: str, *, anchor: str = "start", turn: float = 0
    ) -> None:
        """A label on the baseline at ``y``, turned by so many degrees."""
        at = {"transform": f"rotate({turn:.2f} {x:.1f} {y:.1f})"} if turn else {}
        self._add("text", kind, x=x, y=y, text_anchor=anchor, **at).text = words

    def mark(self, origin: str, x: float, y: float) -> None:
        """The sign of an origin, of the machine of this page, or of one that was tried."""
        if origin not in MARKS:
            raise ValueError(f"there is no mark for {origin!r}; there are {', '.join(MARKS)}")
        kind = f"mark {origin}"
        if origin == "claimed":
            self._add("rect", kind, x=x - 3.6, y=y - 3.6, width=7.2, height=7.2)
        elif origin == "synthesized":
            corners = [(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)]
            self.path(kind, corners, close=True)
        else:
            self._add("circle", kind, cx=x, cy=y, r={"here": 6.5, "tried": 1.8}.get(origin, 4.2))

    def across(self, scale: Scale, top: float, bottom: float, labels: Sequence[str]) -> None:
        """Ticks of a level axis, with a faint line up from each; a label for each tick."""
        for value, label in zip(scale.ticks(), labels, strict=True):
            self.line("grid", scale(value), top, scale(value), bottom)
            self.text("tick", scale(value), bottom + 16, label, anchor="middle")

    def upright(self, scale: Scale, left: float, right: float, labels: Sequence[str]) -> None:
        """Ticks of an upright axis, with a faint line from each."""
        for value, label in zip(scale.ticks(), labels, strict=True):
            self.line("grid", left, scale(value), right, scale(value))
            self.text("tick", left - 7, scale(value) + 4, label, anchor="end")

    def markup(self) -> str:
        """The picture as text that HTML takes in."""
        return ElementTree.tostring(self._root, encoding="unicode")
