"""Plain SVG pictures of boxes, arrows and marks, for pages of 390 pixels and wider.

A picture has its own background, so that light and dark pages show it alike.
"""

from collections.abc import Sequence
from html import escape

__all__ = ["COLORS", "Drawing"]

COLORS = {
    "paper": "#ffffff", "ink": "#1c2733", "soft": "#4c5a68", "hair": "#dde2e7",
    "data": "#fff4d6", "step": "#dcebfb", "run": "#dff3e3", "later": "#f2f2f2",
    "simulated": "#b4521e", "estimated": "#1f5f99", "measured": "#2f7d4a", "published": "#767067",
}  # fmt: skip
STYLE = f"""\
<style>
  text {{ font: 14px sans-serif; text-anchor: middle; fill: {COLORS["ink"]} }}
  .bold {{ font-weight: bold }}
  .start {{ text-anchor: start }}
  .end {{ text-anchor: end }}
  .soft {{ fill: {COLORS["soft"]} }}
</style>
<defs>
  <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
    orient="auto-start-reverse"><path d="M 0 0 L 8 4 L 0 8 z" fill="{COLORS["soft"]}"/></marker>
</defs>"""
LINE = 17  # pixels between two lines of text


class Drawing:
    """An SVG picture, drawn from the back to the front.

    Parameters
    ----------
    width, height : int
        In pixels; the text has 14, so 520 is a good width for a telephone.
    label : str
        Text that says what the picture shows, for readers who do not see it.
    """

    def __init__(self, width: int, height: int, label: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
            f'  width="{width}" height="{height}" aria-label="{escape(label)}">',
            STYLE,
            f'<rect width="{width}" height="{height}" rx="10" fill="{COLORS["paper"]}"/>',
        ]

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write a line; ``kind`` is any of bold, start, end and soft."""
        words = f' class="{kind}"' if kind else ""
        self._parts.append(f'<text x="{x:g}" y="{y:g}"{words}>{escape(text)}</text>')

    def area(
        self, x: float, y: float, width: float, height: float, color: str, dashed: bool = False
    ) -> None:
        """Draw a rounded rectangle with an outline."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" '
            f'fill="{COLORS[color]}" stroke="{COLORS["soft"]}"{_dash(dashed)}/>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, color: str,
        title: str, lines: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Draw a rectangle with a title and lines of text in its middle."""
        self.area(x, y, width, height, color, dashed=color == "later")
        top = y + height / 2 - LINE * len(lines) / 2 + 5
        self.text(x + width / 2, top, title, "bold")
        for n, line in enumerate(lines, 1):
            self.text(x + width / 2, top + LINE * n, line)

    def arrow(
        self, *corners: tuple[float, float], dashed: bool = False, both: bool = False
    ) -> None:
        """Draw a line through the corners with a head at its end, or at both ends."""
        path = " L ".join(f"{x:g} {y:g}" for x, y in corners)
        ends = ' marker-start="url(#head)"' if both else ""
        self._parts.append(
            f'<path d="M {path}" fill="none" stroke="{COLORS["soft"]}" stroke-width="1.6" '
            f'marker-end="url(#head)"{ends}{_dash(dashed)}/>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, color: str, width: float) -> None:
        """Draw a straight line."""
        self._parts.append(
            f'<path d="M {x:g} {y:g} L {to_x:g} {to_y:g}" stroke="{COLORS[color]}" '
            f'stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, color: str, hollow: bool = False) -> None:
        """Draw a mark, full or hollow."""
        inside = COLORS["paper" if hollow else color]
        self._parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="5.5" fill="{inside}" stroke="{COLORS[color]}" '
            f'stroke-width="2"/>'
        )

    def svg(self) -> str:
        """Text of the picture."""
        return "\n".join([*self._parts, "</svg>", ""])


def _dash(dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""
