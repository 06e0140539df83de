"""Magnitudes by channel before and after the rotations, which should flatten them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightmamba.study.plots.style import COLORS, log_axis, new, styled

__all__ = ["Panel", "ranges"]

COLUMNS = 260  # of a panel; several channels share one, which shows their largest
FLOOR = 0.01  # smaller magnitudes are as good as none


@dataclass(frozen=True)
class Panel:
    """Magnitudes of one matrix by channel, over the root mean square of the channels' largest.

    Parameters
    ----------
    largest, median : (channels,)
        Of a weight, the median is not known.
    """

    largest: NDArray[np.float64]
    median: NDArray[np.float64] | None = None

    @staticmethod
    def of(largest: NDArray[np.float64], median: NDArray[np.float64] | None = None) -> "Panel":
        """Panel of magnitudes in their own unit."""
        unit = float(np.sqrt((largest**2).mean())) or 1.0
        return Panel(largest / unit, None if median is None else median / unit)

    @property
    def peak(self) -> float:
        """The largest magnitude of all channels."""
        return float(self.largest.max())


@styled
def ranges(pairs: Mapping[str, tuple[Panel, Panel]]) -> Figure:
    """Draw a row for each matrix: before the rotations at the left, after them at the right.

    Parameters
    ----------
    pairs
        ``{name: (before, after)}``.
    """
    figure, axes = new(
        0.4 + 1.95 * len(pairs), len(pairs), 2, sharey="row", sharex="row", squeeze=False
    )
    for row, (name, pair) in zip(axes, pairs.items(), strict=True):
        for one, panel, when in zip(row, pair, ("before", "after"), strict=True):
            _panel(one, panel)
            one.set_title(f"{name}, {when} rotation", loc="left", color=COLORS["ink"])
            peak = f"peak {panel.peak:.2g} × rms"
            one.set_title(peak, loc="right", color=COLORS["simulated"])
        row[0].set_ylim(FLOOR, 1.8 * max(panel.peak for panel in pair))
        log_axis(row[0], "y", "{x:g}")
        row[1].grid(axis="y")
    axes[-1, 1].set_xlabel("channel", loc="right")
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    count = len(panel.largest)
    edges = np.arange(min(COLUMNS, count)) * count // min(COLUMNS, count)
    largest, median = (
        np.maximum(np.maximum.reduceat(values, edges), FLOOR)
        for values in (panel.largest, np.zeros(count) if panel.median is None else panel.median)
    )
    ends = np.append(edges, count)
    axes.stairs(largest, ends, baseline=median, fill=True, color=COLORS["band"])
    axes.stairs(largest, ends, baseline=None, color=COLORS["estimated"], linewidth=0.9)
    axes.axhline(panel.peak, color=COLORS["simulated"], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(0, count)
