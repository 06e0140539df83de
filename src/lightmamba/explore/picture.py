"""The front as a picture: speed against size, and against energy, by scheme."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightmamba.explore.objectives import OBJECTIVES, SPEEDS, Objective, front

__all__ = ["draw"]

COLOURS = ("#1f4e79", "#c55a11", "#548235", "#7f6000")
GREY = "#b8b8b8"
PLACES = {  # where the name of the best point stands, in points
    **{speed.key: ((0, 8), "center", "bottom") for speed in SPEEDS},
    "device_share": ((-7, 0), "right", "center"),
    "tokens_per_joule": ((7, 0), "left", "center"),
    "perplexity_ratio": ((0, -8), "center", "top"),
}


def draw(path: Path, content: Mapping[str, Any]) -> None:
    """Draw what ``front.json`` says to a PNG.

    Parameters
    ----------
    path
        File to write.
    content
        As :func:`lightmamba.explore.files.write` gives it; ``base`` may hold the base target's
        figures, ``accuracy`` the measured ratios by scheme.
    """
    title = (
        f"{content['model']} on the board of {content['base_target']}: {len(content['points'])} of "
        f"{content['fitting']} machines that fit are not beaten (estimated)"
    )
    across = [OBJECTIVES["size"]]
    if all("tokens_per_joule" in point for point in content["points"]):
        across.append(OBJECTIVES["energy"])
    figure, axes = plt.subplots(
        1, len(across), figsize=(1 + 5.5 * len(across), 5.5), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, objective in zip(axes[0], across, strict=True):
        _panel(axis, content, objective)
    axes[0, 0].set_ylabel(_speed(content).label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    caption = _caption(content["best"])
    figure.suptitle(f"{title}\n{caption}", fontsize=10, x=0.01, ha="left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(axis: Any, content: Mapping[str, Any], across: Objective) -> None:
    tried, points, speed = content["tried"], content["points"], _speed(content)
    axis.scatter(
        *_places(tried, across, speed), s=8, color=GREY, linewidths=0, label="tried, beaten"
    )
    schemes = sorted({point["scheme"] for point in points})
    for scheme, colour in zip(schemes, COLOURS, strict=False):
        mine = [point for point in points if point["scheme"] == scheme]
        axis.scatter(
            *_places(mine, across, speed), s=34, color=colour, edgecolors="white", linewidths=0.6,
            label=_named(scheme, content.get("accuracy", {})), zorder=3,
        )  # fmt: skip
        edge = [mine[i] for i in front(mine, (across, speed))]
        axis.plot(*_places(edge, across, speed), color=colour, linewidth=0.9, alpha=0.6, zorder=2)
    if base := content.get("base"):
        axis.scatter(
            *_places([base], across, speed), s=90, marker="x", color="black", linewidths=1.6,
            zorder=4, label=f"{content['base_target']} as it is, {base['scheme']}",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    shares = across.key == "device_share"
    axis.set_xlabel(f"{across.label}, %" if shares else across.label)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        side.set_minor_formatter(NullFormatter())
    axis.margins(0.12)
    axis.grid(which="major", color="#e4e4e4", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    _words(axis, content, across)


def _speed(content: Mapping[str, Any]) -> Objective:
    """The first speed that was searched for."""
    wanted = {objective["name"] for objective in content["objectives"]}
    return next((speed for speed in SPEEDS if speed.key in wanted), SPEEDS[0])


def _places(
    points: Sequence[Mapping[str, Any]], across: Objective, speed: Objective
) -> tuple[list[float], ...]:
    scale = 100 if across.key == "device_share" else 1
    return [scale * point[across.key] for point in points], [point[speed.key] for point in points]


def _named(scheme: str, accuracy: Mapping[str, Any]) -> str:
    if (found := accuracy.get(scheme)) is None:
        return scheme
    return f"{scheme}, perplexity x {found['ratio']:.3f} ± {found['standard_error']:.3f}"


def _words(axis: Any, content: Mapping[str, Any], across: Objective) -> None:
    """Name the best points, each once."""
    points = {point["name"]: point for point in content["points"]}
    for name, key in {name: key for key, name in reversed(content["best"].items())}.items():
        offset, ha, va = PLACES[key]
        (x,), (y,) = _places([points[name]], across, _speed(content))
        axis.annotate(
            name, (x, y), xytext=offset, textcoords="offset points", ha=ha, va=va, fontsize=9,
            weight="bold", zorder=5, path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _caption(best: Mapping[str, str]) -> str:
    """What each named point is best in."""
    words = {o.key: o.best for o in OBJECTIVES.values()}
    found: dict[str, list[str]] = {}
    for key, name in best.items():
        found.setdefault(name, []).append(words[key])
    return "Lines join what no other of a scheme beats in the two figures shown.  " + ",  ".join(
        f"{name} {' and '.join(words)}" for name, words in found.items()
    )
