"""A Pareto front: speed against size, and against energy, by format."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightmamba.hardware.estimate.objectives import OBJECTIVES, SPEEDS, Objective, front
from lightmamba.study.plots.labels import Labels
from lightmamba.study.plots.style import COLORS, MARKS, log_axis, new, styled

__all__ = ["front_figure"]

LINE = 90  # letters of a line of the title
SCHEMES = ("estimated", "simulated", "synthesized", "published")  # colors of formats


@styled
def front_figure(
    content: Mapping[str, Any],
    across: Sequence[str] = ("size", "energy"),
    base: str | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw what ``explore`` found, one panel for each figure that the points have.

    Parameters
    ----------
    content
        As :func:`lightmamba.study.explore.files.write` gives it; ``base`` may hold the base
        target's figures, ``accuracy`` the measured ratios by scheme.
    across
        Names of objectives for the horizontal axes.
    base
        Label of the base target's mark; by default the target's name.
    title
        Sentence above the panels, in as many lines as it needs.
    """
    points, label = content["points"], base or f"{content['base_target']} as it is"
    shown = [o for o in (OBJECTIVES[name] for name in across) if o.key in points[0]]
    figure, axes = new(5.4, 1, len(shown), sharey=True, squeeze=False)
    for axis, objective in zip(axes[0], shown, strict=True):
        _panel(axis, content, objective, label)
    axes[0, 0].set_title(_speed(content).label, loc="left")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.suptitle("\n".join(wrap(title, LINE)), x=0.01, ha="left")
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, content: Mapping[str, Any], across: Objective, label: str) -> None:
    tried, points, speed = content["tried"], content["points"], _speed(content)
    axes.plot(*_places(tried, across, speed), ".", color=COLORS["idle"], markersize=4,
              label="tried, beaten")  # fmt: skip
    schemes = sorted({point["scheme"] for point in points})
    for scheme, color in zip(schemes, SCHEMES, strict=False):
        mine = [point for point in points if point["scheme"] == scheme]
        look: dict[str, Any] = {"color": COLORS[color], "zorder": 3}
        axes.plot(*_places(mine, across, speed), "o", markersize=6,
                  label=_named(scheme, content.get("accuracy", {})), **look)  # fmt: skip
        edge = [mine[i] for i in front(mine, (across, speed))]
        axes.plot(*_places(edge, across, speed), linewidth=0.9, alpha=0.6, **look)
    base = content.get("base") or {}
    if {across.key, speed.key} <= set(base):
        axes.plot(*_places([base], across, speed), zorder=4, label=label, **MARKS["here"])
    axes.set_xlabel(across.label, loc="right")
    percent = across.key == "device_share"
    log_axis(axes, "x", lambda x, _: f"{100 * x:,.4g} %" if percent else f"{x:,.10g}")
    log_axis(axes, "y", "{x:,.10g}")
    axes.margins(0.12)
    labels = Labels(axes)
    labels.keep_free(zip(*_places(points, across, speed), strict=True), 3)
    named = {point["name"]: point for point in points}
    for name in sorted(set(content["best"].values())):
        (x,), (y,) = _places([named[name]], across, speed)
        labels.name((x, y), name, weight="bold", zorder=5)


def _speed(content: Mapping[str, Any]) -> Objective:
    """The first speed that was searched for."""
    wanted = {objective["name"] for objective in content["objectives"]}
    return next((speed for speed in SPEEDS if speed.key in wanted), SPEEDS[0])


def _places(
    points: Sequence[Mapping[str, Any]], across: Objective, speed: Objective
) -> tuple[list[float], list[float]]:
    return [point[across.key] for point in points], [point[speed.key] for point in points]


def _named(scheme: str, accuracy: Mapping[str, Any]) -> str:
    if (found := accuracy.get(scheme)) is None:
        return str(scheme)
    return f"{scheme}, perplexity × {found['ratio']:.3f} ± {found['standard_error']:.3f}"
