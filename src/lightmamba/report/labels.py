"""Labels next to points, none over another and none over a point, as far as there is room."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightmamba.report.drawing import TYPE, text_width

__all__ = ["Label", "place"]

GAP = 9.0  # from a point to its label


@dataclass(frozen=True)
class Label:
    """Where a label stands: the start, middle or end of its baseline."""

    x: float
    y: float
    anchor: str
    words: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        width = text_width(self.words)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - 0.8 * TYPE, left + width, self.y + 0.25 * TYPE


def place(
    points: Sequence[tuple[float, float]], words: Sequence[str],
    within: tuple[float, float, float, float], taken: Sequence[tuple[float, float]] = (),
) -> list[Label]:  # fmt: skip
    """Place a label for each point.

    Parameters
    ----------
    points, words
        As many of each.
    within
        Left, top, right, bottom of the room for labels.
    taken
        Other points that labels should leave free.

    Returns
    -------
    list of Label
        The first place of those around its point that covers least, in the order of ``points``.
    """
    spots = [*points, *taken]
    placed: list[Label] = []
    for point, text in zip(points, words, strict=True):
        choices = _around(point, text)
        placed.append(min(choices, key=lambda label: _covered(label, spots, placed, within)))
    return placed


def _around(point: tuple[float, float], words: str) -> list[Label]:
    x, y = point
    middle, far = y + 0.3 * TYPE, TYPE + 4
    return [
        Label(x + GAP, middle, "start", words),
        Label(x - GAP, middle, "end", words),
        Label(x, y - GAP, "middle", words),
        Label(x, y + GAP + 0.8 * TYPE, "middle", words),
        *(
            Label(x + side * GAP, middle + up * far, "start" if side > 0 else "end", words)
            for up in (-1, 1, -2, 2, -3, 3)
            for side in (1, -1)
        ),
    ]


def _covered(
    label: Label, spots: Sequence[tuple[float, float]], placed: Sequence[Label],
    within: tuple[float, float, float, float],
) -> float:  # fmt: skip
    """How bad a place is: 0 where nothing is covered."""
    left, top, right, bottom = label.box
    bad = max(0.0, within[0] - left) + max(0.0, right - within[2])
    bad += max(0.0, within[1] - top) + max(0.0, bottom - within[3])
    bad *= 10
    for x, y in spots:
        bad += 40.0 * (left - 5 < x < right + 5 and top - 5 < y < bottom + 5)
    for other in placed:
        a, b, c, d = other.box
        wide, tall = min(right, c) - max(left, a), min(bottom, d) - max(top, b)
        bad += max(0.0, wide) * max(0.0, tall)
    return bad
