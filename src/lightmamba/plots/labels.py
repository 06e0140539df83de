"""Names next to points of a picture, apart from each other as far as there is room."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

__all__ = ["Labels"]

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
        self._taken: list[Bbox] = []

    def keep_free(self, points: Iterable[tuple[float, float]], size: float = 5.0) -> None:
        """Keep names off points, given in the units of the axes."""
        for x, y in self._axes.transData.transform(np.reshape(list(points), (-1, 2))):
            self._taken.append(Bbox.from_extents(x - size, y - size, x + size, y + size))

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
        costs = [self._covered(text.get_window_extent()) for text in texts]
        best = texts[costs.index(min(costs))]
        for text in texts:
            if text is not best:
                text.remove()
        self._taken.append(best.get_window_extent())
        return best

    def _covered(self, box: Bbox) -> float:
        """Dots of other things under a box, those outside of the axes included."""
        inside = Bbox.intersection(box, self._axes.get_window_extent())
        outside = _area(box) - (_area(inside) if inside else 0.0)
        others = (Bbox.intersection(box, other) for other in self._taken)
        return 2 * outside + sum(_area(other) for other in others if other)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)
