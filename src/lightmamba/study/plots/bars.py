"""Bars: what the lanes do, the share of a device that a design takes, and energy with its range."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from lightmamba.study.plots.style import COLORS, MARKS, even_axis, new, styled

__all__ = ["energy", "shares", "stalls"]

Triple = tuple[float, float, float]


@styled
def stalls(cycles: Mapping[str, Mapping[str, float]], of: str = "token") -> Figure:
    """Cycles by what the lanes do in them, one bar for each origin or kind of pass.

    Parameters
    ----------
    cycles
        ``{bar: {activity: cycles}}``.
    of
        What takes these cycles: a token or a pass.
    """
    figure, axes = new(0.75 + 0.5 * len(cycles))
    for place, parts in enumerate(cycles.values()):
        begin = 0.0
        for what, count in parts.items():
            axes.barh(place, count, 0.64, left=begin, color=COLORS[what])
            begin += count
    even_axis(axes, "{x:,.0f}")
    axes.set_yticks(range(len(cycles)), list(cycles))
    axes.invert_yaxis()
    axes.set_xlabel(f"cycles per {of}", loc="right")
    return figure


@styled
def shares(parts: Mapping[str, Mapping[str, float]]) -> Figure:
    """Share of a device by kind of cell.

    Parameters
    ----------
    parts
        ``{origin: {cell: share of those of the device}}``. Origins are "estimated",
        "synthesized" and "published", with the same cells.
    """
    cells = list(next(iter(parts.values())))
    figure, axes = new(0.9 + 0.22 * len(cells) * (1 + len(parts)))
    tall = 0.8 / len(parts)
    for n, (origin, found) in enumerate(parts.items()):
        color = COLORS[origin]
        look = {"fill": False, "edgecolor": color} if origin == "published" else {"color": color}
        places = [place + tall * (n - (len(parts) - 1) / 2) for place in range(len(cells))]
        bars = axes.barh(places, list(found.values()), 0.85 * tall, **look)
        axes.bar_label(bars, [f"{100 * x:.1f} %" for x in found.values()], padding=4, fontsize=10)
    most = max(max(found.values()) for found in parts.values())
    axes.set_xlim(0, max(1e-3, 1.12 * most))
    places_after = 0 if most > 0.06 else 1
    even_axis(axes, lambda share, _: f"{100 * share:.{places_after}f} %")
    axes.set_yticks(range(len(cells)), cells)
    axes.invert_yaxis()
    axes.set_xlabel("of the device", loc="right")
    return figure


@styled
def energy(
    parts: Mapping[str, Triple],
    published: float | None,
    words: Callable[[float, float, float], str],
) -> Figure:
    """Millijoules per token by part, with ranges.

    Parameters
    ----------
    parts
        ``{name: (low, likely, high)}``, joules; the last one is the sum.
    published
        Joules per token as the paper reports them for its own accelerator.
    words
        Text for a low, a likely and a high value.
    """
    rows = {name: (1e3 * low, 1e3 * mid, 1e3 * high) for name, (low, mid, high) in parts.items()}
    figure, axes = new(0.8 + 0.36 * (len(rows) + (published is not None)))
    for place, (low, likely, high) in enumerate(rows.values()):
        axes.plot([low, high], [place, place], color=COLORS["estimated"], linewidth=2)
        axes.plot(likely, place, **MARKS["estimated"])
    names, said = list(rows), [words(*row) for row in rows.values()]
    if published is not None:
        axes.plot(1e3 * published, len(rows), **MARKS["published"])
        names.append("the paper’s")
        said.append(f"{1e3 * published:.3g}")
    most = max(*(high for *_, high in rows.values()), 1e3 * (published or 0.0))
    axes.set_xlim(0, 1.05 * most)
    axes.set_ylim(len(names) - 0.5, -0.5)
    even_axis(axes, "{x:g}")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mJ per token", loc="right")
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(range(len(names)), said)
    right.tick_params(labelcolor=COLORS["ink"])
    right.spines["left"].set_visible(False)
    return figure
