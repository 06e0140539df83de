"""Units over time: which of them is busy when."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightmamba.study.plots.style import COLORS, even_axis, new, styled

__all__ = ["timeline"]

TALL = 0.75  # of a row, at full use
LETTER = 0.0088  # of the axes' width, that a letter of a mark takes


@styled
def timeline(
    start: int, bin_cycles: int, busy: Mapping[str, Sequence[float]], marks: Mapping[str, int]
) -> Figure:
    """Draw, for each unit, the share of cycles in which it passes data on.

    Parameters
    ----------
    start
        First cycle.
    bin_cycles
        Cycles of each share.
    busy
        ``{unit: shares}``; units that are never busy are left out.
    marks
        ``{name: cycle}``, where something begins; those without room for their name are
        left out, the last one never.
    """
    units = {name: np.asarray(shares) for name, shares in busy.items() if any(shares)}
    figure, axes = new(1.0 + 0.35 * len(units))
    count = max(len(shares) for shares in units.values())
    edges = start + bin_cycles * np.arange(count + 1)
    for place, shares in enumerate(units.values()):
        base = len(units) - 1 - place
        axes.axhline(base, color=COLORS["hair"], linewidth=0.8)
        heights = base + TALL * shares
        axes.stairs(heights, edges, baseline=base, fill=True, color=COLORS["estimated"])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, len(units))
    even_axis(axes, "{x:,.0f}")
    axes.set_yticks([n + TALL / 3 for n in range(len(units))], list(units)[::-1])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("cycles from the token’s first value", loc="right")
    _mark(axes, marks)
    return figure


def _mark(axes: Axes, marks: Mapping[str, int]) -> None:
    """Vertical lines with names above the axes: the last, the first, and what has room between."""
    low, high = axes.get_xlim()
    *others, last = sorted(marks.items(), key=lambda item: item[1])
    free, end = 0.0, 1.0
    for name, cycle in (last, *others):
        at, wide = (cycle - low) / (high - low), LETTER * (len(name) + 1)
        turned = at + wide > 1  # no room at the right of the line
        left, right = (at - wide, at) if turned else (at, at + wide)
        if left < free or right > end:
            continue
        axes.axvline(cycle, color=COLORS["simulated"], linewidth=0.8)
        axes.annotate(name, (cycle, 1), xycoords=("data", "axes fraction"),
                      xytext=(-3 if turned else 3, 3), textcoords="offset points",
                      ha="right" if turned else "left", color=COLORS["simulated"], fontsize=11,
                      )  # fmt: skip
        if name == last[0]:
            end = left - LETTER
        else:
            free = right + LETTER
