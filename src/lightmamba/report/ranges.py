"""Energy of a token with its range, and channels before and after the rotations."""

import numpy as np
from numpy.typing import NDArray

from lightmamba.estimate.result import Energy
from lightmamba.report.contents import Outliers, Panel
from lightmamba.report.drawing import WIDTH, Drawing
from lightmamba.report.figures import figure, spread
from lightmamba.report.scale import Scale

__all__ = ["energy", "outliers"]

LEFT, RIGHT, ROW = 110.0, WIDTH - 150.0, 26.0
COLUMNS = 260  # of a panel; several channels share one, which shows their largest
FLOOR = 0.01  # what lies below is as good as nothing


def energy(found: Energy, claimed: float | None) -> str:
    """Millijoules of a token, by part and together.

    Parameters
    ----------
    found
        The parts, each low, likely, high.
    claimed
        Joules of a token as the paper has them, on its own machine.
    """
    rows = {name.replace("_", " "): part for name, part in found.parts.items()}
    rows["together"] = found.joules
    most = max(*(part[2] for part in rows.values()), claimed or 0.0)
    count = len(rows) + (claimed is not None)
    x, bottom = Scale(0, 1.05e3 * most, LEFT, RIGHT), 10 + ROW * count
    d = Drawing(bottom + 40, "Energy of a token", "Millijoules of a token by part, with ranges")
    d.across(x, 4, bottom, [figure(v, 2) for v in x.ticks()])
    d.text("axis", RIGHT, bottom + 34, "mJ per token", anchor="end")
    for place, (name, (low, likely, high)) in enumerate(rows.items()):
        y, kind = 10 + ROW * (place + 0.5), " sum" if name == "together" else ""
        d.text(f"name{kind}", LEFT - 10, y + 4, name, anchor="end")
        d.line(f"range{kind}", x(1e3 * low), y, x(1e3 * high), y)
        d.mark("estimated", x(1e3 * likely), y)
        d.text(f"value{kind}", RIGHT + 12, y + 4, spread(1e3 * low, 1e3 * likely, 1e3 * high))
    if claimed is not None:
        y = 10 + ROW * (len(rows) + 0.5)
        d.text("name", LEFT - 10, y + 4, "the paper’s", anchor="end")
        d.mark("claimed", x(1e3 * claimed), y)
        d.text("value", RIGHT + 12, y + 4, figure(1e3 * claimed))
    return d.markup()


def outliers(found: Outliers) -> str:
    """Inputs of the projections, before the rotations at the left and after them at the right."""
    left, gap, tall, top = 62.0, 26.0, 118.0, 26.0
    wide = (WIDTH - left - gap - 12) / 2
    highest = max(panel.peak for pair in found.panels.values() for panel in pair)
    d = Drawing(
        top + len(found.panels) * (tall + 46) - 26, "Outliers",
        "Magnitudes by channel over their rms before and after the rotations",
    )  # fmt: skip
    for row, (name, pair) in enumerate(found.panels.items()):
        head = top + row * (tall + 46)
        y = Scale(FLOOR, 1.8 * highest, head + tall, head, log=True)
        for column, (panel, when) in enumerate(zip(pair, ("before", "after"), strict=True)):
            start = left + column * (wide + gap)
            ticks = [f"{v:g}" if column == 0 else "" for v in y.ticks(5)]
            for value, words in zip(y.ticks(5), ticks, strict=True):
                d.line("grid", start, y(value), start + wide, y(value))
                d.text("tick", start - 6, y(value) + 4, words, anchor="end")
            _panel(d, panel, Scale(0, len(panel.largest), start, start + wide), y)
            d.text("name", start, head - 8, f"{name}, {when} rotation")
            words = f"peak {figure(panel.peak, 2)} × rms"
            d.text("peakname", start + wide, head - 8, words, anchor="end")
            d.text("tick", start, head + tall + 14, "0", anchor="start")
            last = f"channel {len(panel.largest) - 1:,}"
            d.text("tick", start + wide, head + tall + 14, last, anchor="end")
    return d.markup()


def _panel(d: Drawing, panel: Panel, x: Scale, y: Scale) -> None:
    count = len(panel.largest)
    edges = np.arange(min(COLUMNS, count)) * count // min(COLUMNS, count)
    upper, lower = (
        [(x(float(n)), y(most)) for n, most in zip(edges, _columns(values, edges), strict=True)]
        for values in (panel.largest, panel.median)
    )
    d.path("band", [*upper, *reversed(lower)], close=True)
    d.path("largest", upper)
    d.line("peak", x.start, y(panel.peak), x.end, y(panel.peak))


def _columns(values: NDArray[np.float64], edges: NDArray[np.int64]) -> list[float]:
    """Largest of each run of channels, which begin at ``edges``."""
    most: list[float] = np.maximum.reduceat(values, edges).tolist()
    return most
