"""Bytes per token against tokens per second, under the roofs of memory and multipliers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lightmamba.study.plots.labels import Labels
from lightmamba.study.plots.style import COLORS, MARKS, log_axis, new, styled

__all__ = ["Point", "Roof", "roofline"]

MANY = 30  # points of a roof within the axes that leave room for its name
NEAR = 1.15  # points of one accelerator with a smaller ratio between them share a name
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


@dataclass(frozen=True)
class Point:
    """Accelerator on a model, with the origin of its speed: published, estimated or simulated."""

    label: str
    origin: str
    bytes_per_token: float
    tokens_per_second: float


@dataclass(frozen=True)
class Roof:
    """The bandwidth of a memory: "attainable", "nominal" or another board's, "published"."""

    kind: str
    bytes_per_second: float
    words: str


@styled
def roofline(points: Sequence[Point], roofs: Sequence[Roof], compute: float, words: str) -> Figure:
    """Draw points under their roofs.

    Parameters
    ----------
    points, roofs
        At least one point.
    compute
        Tokens per second with every multiplier busy in every cycle.
    words
        Name of that line.
    """
    sizes, speeds = [p.bytes_per_token for p in points], [p.tokens_per_second for p in points]
    figure, axes = new(5.6)
    low, high = min(sizes) / 2.2, max(sizes) * 2.2
    steepest = max((roof.bytes_per_second for roof in roofs), default=0.0) / min(sizes)
    axes.set_xlim(low, high)
    axes.set_ylim(min(*speeds, compute) / 2.5, 1.6 * max(*speeds, compute, steepest))
    log_axis(axes, "x", _bytes)
    log_axis(axes, "y", "{x:,g}")
    axes.set_xlabel("bytes per token", loc="right")
    axes.set_title("tokens per second", loc="left")
    axes.axhline(compute, color=COLORS["ink"], linewidth=1.3)
    across = np.geomspace(low, high, 60)
    for roof in roofs:
        ours = roof.kind == "attainable"
        axes.plot(across, roof.bytes_per_second / across, scalex=False, scaley=False,
                  color=COLORS["ink" if ours else "published"], linewidth=1.3 if ours else 1,
                  linestyle="-" if ours else (0, (5, 4)))  # fmt: skip
    for point in points:
        axes.plot(point.bytes_per_token, point.tokens_per_second, zorder=4, **MARKS[point.origin])

    labels = Labels(axes)
    labels.keep_free(zip(sizes, speeds, strict=True), 7)
    labels.keep_free([(x, compute) for x in across], 2)
    lines = [_along(roof, axes.get_xlim(), axes.get_ylim()) for roof in roofs]
    for line in lines:
        labels.keep_free(line, 2)
    look: dict[str, Any] = {"color": COLORS["soft"], "fontsize": 10.5}
    labels.along([(x, compute) for x in across[52:8:-2]], words, **look)
    for roof, line in zip(roofs, lines, strict=True):
        if len(line) > MANY:
            labels.along(line[10:-10:2], roof.words, above=roof.kind != "attainable", **look)
    for n, point in enumerate(points):
        if n + 1 < len(points) and _same(point, points[n + 1]):
            continue  # one name for both
        place = point.bytes_per_token, point.tokens_per_second
        labels.name(place, point.label, zorder=5)
    return figure


def _along(
    roof: Roof, across: tuple[float, float], up: tuple[float, float]
) -> list[tuple[float, float]]:
    """Points of a roof within the axes."""
    found = [(float(x), roof.bytes_per_second / float(x)) for x in np.geomspace(*across, 150)]
    return [(x, y) for x, y in found if up[0] < y < up[1]]


def _same(one: Point, other: Point) -> bool:
    ratio = max(
        abs(math.log(one.bytes_per_token / other.bytes_per_token)),
        abs(math.log(one.tokens_per_second / other.tokens_per_second)),
    )
    return one.label == other.label and ratio < math.log(NEAR)


def _bytes(value: float, _: float) -> str:
    size, name = next(((s, n) for s, n in UNITS if value >= s), UNITS[-1])
    return f"{value / size:g} {name}"
