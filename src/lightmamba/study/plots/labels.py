"""Names next to points of a picture, apart from each other as far as there is room."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text

__all__ = ["Labels"]

Box = tuple[float, float, float, float]  # left, bottom, right, top
GAP = 9.0  # dots from a point to its name
# Places around a point: horizontal and vertical steps, alignment.
AROUND = (
    (1, 0, "left", "center"), (-1, 0, "right", "center"), (0, 1, "center", "bottom"),
    (0, -1, "center", "top"), (1, 1.6, "left", "center"), (-1, 1.6, "right", "center"),
    (1, -1.6, "left", "center"), (-1, -1.6, "right", "center"),
)  # fmt: skip


class Labels:
    """Names in one picture, of which each takes the place that covers least.

    Parameters
    ----------
    axes : Axes
        With its limits set.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.draw_without_rendering()  # so that places are known
        self._taken: list[Box] = []

    def keep_free(self, points: Iterable[tuple[float, float]], size: float = 5.0) -> None:
        """Keep names off points, given in the units of the axes."""
        for x, y in self._axes.transData.transform(np.reshape(list(points), (-1, 2))).tolist():
            self._taken.append((x - size, y - size, x + size, y + size))

    def name(self, point: tuple[float, float], words: str, **look: Any) -> Text:
        """Name a point."""
        return self._best([
            self._text(point, words, (GAP * x, GAP * y), look | {"ha": ha, "va": va})
            for x, y, ha, va in AROUND
        ])  # fmt: skip

    def along(
        self, points: Sequence[tuple[float, float]], words: str, *, above: bool = True, **look: Any
    ) -> Text:
        """Name a straight line above or below one of its points, turned as the line is."""
        ends = self._axes.transData.transform([points[0], points[-1]])
        (x1, y1), (x2, y2) = sorted(ends.tolist())
        turn = math.degrees(math.atan2(y2 - y1, x2 - x1))
        look |= {"ha": "center", "va": "bottom" if above else "top", "rotation": turn}
        look["rotation_mode"] = "anchor"
        away = (0, 2 if above else -3)
        return self._best([self._text(point, words, away, look) for point in points])

    def _text(
        self, point: tuple[float, float], words: str, away: tuple[float, float], look: Any
    ) -> Text:
        text = self._axes.annotate(
            words, point, xytext=away, textcoords="offset points", annotation_clip=False, **look
        )
        text.set_in_layout(False)
        return text

    def _best(self, texts: list[Text]) -> Text:
        """The text that covers least; the others go."""
        boxes = [_box(text) for text in texts]
        inside = _box(self._axes)
        costs = [self._covered(box, inside) for box in boxes]
        best = costs.index(min(costs))
        for text in (*texts[:best], *texts[best + 1 :]):
            text.remove()
        self._taken.append(boxes[best])
        return texts[best]

    def _covered(self, box: Box, inside: Box) -> float:
        """Dots of other things under a box, those outside of the axes included."""
        outside = _shared(box, box) - _shared(box, inside)
        return 2 * outside + sum(_shared(box, other) for other in self._taken)


def _box(drawn: Artist) -> Box:
    left, bottom, right, top = map(float, drawn.get_window_extent().extents)
    return left, bottom, right, top


def _shared(one: Box, other: Box) -> float:
    """Dots that lie in two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
