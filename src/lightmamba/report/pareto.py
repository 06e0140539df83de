"""Pareto-optimal configurations: speed against area."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightmamba.report.contents import Front
from lightmamba.report.drawing import WIDTH, Drawing
from lightmamba.report.figures import figure, percent
from lightmamba.report.labels import place
from lightmamba.report.scale import Scale

__all__ = ["AXES", "Axis", "axes_of", "pareto"]

TOP, BOTTOM, LEFT, RIGHT = 30.0, 316.0, 64.0, WIDTH - 12.0


@dataclass(frozen=True)
class Axis:
    """A figure of a front's points."""

    key: str
    words: str
    share: bool = False
    log: bool = False
    digits: int = 3

    def tick(self, value: float) -> str:
        """The figure at an axis."""
        return (
            percent(value, 0 if value >= 0.0095 or not value else 1)
            if self.share
            else (f"{value:,.4g}")
        )

    def show(self, value: float) -> str:
        """The figure, for a table or a tick."""
        return percent(value) if self.share else figure(value, self.digits)


FEW = 12  # points whose names have room
AXES = (
    Axis("tokens_per_second", "tokens/s", log=True),
    Axis("device_share", "largest share of the device", share=True, log=True),
    Axis("tokens_per_joule", "tokens/J"),
    Axis("perplexity_ratio", "perplexity, × float", digits=4),
)


def axes_of(front: Front) -> list[Axis]:
    """Figures that all points have."""
    return [axis for axis in AXES if all(axis.key in p.values for p in front.points)]


def pareto(front: Front, here: Mapping[str, float]) -> str:
    """Draw the first two figures of a front.

    Parameters
    ----------
    front
        At least one point.
    here
        Figures of the machine of this page, where they are known.
    """
    across, up = axes_of(front)[:2]
    values = [(p.values[across.key], p.values[up.key]) for p in front.points]
    tried = [(one[across.key], one[up.key]) for one in front.tried]
    ours = [(here[across.key], here[up.key])] if across.key in here and up.key in here else []
    x, y = (
        _scale([v[n] for v in values + tried + ours], axis, ends)
        for n, (axis, ends) in enumerate(((across, (LEFT, RIGHT)), (up, (BOTTOM, TOP))))
    )
    d = Drawing(BOTTOM + 44, "Pareto front", f"{across.words} against {up.words}")
    d.across(x, TOP, BOTTOM, [across.tick(v) for v in x.ticks()])
    d.upright(y, LEFT, RIGHT, [up.tick(v) for v in y.ticks()])
    d.text("axis", RIGHT, BOTTOM + 36, across.words, anchor="end")
    d.text("axis", 8, 14, up.words)
    for a, b in tried:
        d.mark("tried", x(a), y(b))
    spots = [(x(a), y(b)) for a, b in values]
    for spot in spots:
        d.mark("estimated", *spot)
    names = {n: p.name.partition(":")[0] for n, p in enumerate(front.points)}
    if len(names) > FEW:  # the table names all
        ends = {max(names, key=lambda n: values[n][0]), min(names, key=lambda n: values[n][1])}
        names = {n: names[n] for n in sorted(ends)}
    own = [(x(a), y(b)) for a, b in ours]
    room = (LEFT, TOP, RIGHT, BOTTOM)
    for label in place(
        [*own, *(spots[n] for n in names)], [*(["this page"] * len(own)), *names.values()], room
    ):
        d.text("label", label.x, label.y, label.words, anchor=label.anchor)
    for spot in own:
        d.mark("here", *spot)
    return d.markup()


def _scale(values: list[float], axis: Axis, ends: tuple[float, float]) -> Scale:
    low, high = min(values), max(values)
    if axis.log and low > 0 and high / low > 3:
        return Scale(low / 1.3, high * 1.3, *ends, log=True)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(max(0.0, low - pad) if low >= 0 else low - pad, high + pad, *ends)
