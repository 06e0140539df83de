"""Which unit works when: a token, and one of its layers from nearer."""

from lightmamba.report.contents import Report
from lightmamba.report.drawing import WIDTH, Drawing, text_width
from lightmamba.report.figures import whole
from lightmamba.report.scale import Scale
from lightmamba.sim import Strip

__all__ = ["timeline", "timelines"]

LEFT, RIGHT, HEAD, ROW, TALL = 152.0, WIDTH - 14.0, 30.0, 25.0, 18.0


def timeline(strip: Strip, title: str) -> str:
    """Draw a strip: for each unit, over time, the share of cycles in which it passes data on."""
    units = {name: shares for name, shares in strip.busy.items() if any(shares)}
    bottom = HEAD + ROW * len(units) + 4
    x = Scale(strip.start, strip.start + strip.cycles, LEFT, RIGHT)
    d = Drawing(bottom + 42, title, f"{title}: shares of time in which each unit passes data on")
    d.across(x, HEAD - 4, bottom, [whole(v) for v in x.ticks()])
    d.text("axis", RIGHT, bottom + 34, "cycles from the token’s first value", anchor="end")
    for place, (name, shares) in enumerate(units.items()):
        base = HEAD + ROW * place + TALL
        d.text("name", LEFT - 10, base - 4, name, anchor="end")
        d.line("base", LEFT, base, RIGHT, base)
        edges: list[tuple[float, float]] = [(x(strip.start), base)]
        for n, share in enumerate(shares):
            for cycle in (n, n + 1):
                at = x(strip.start + cycle * strip.bin_cycles)
                edges.append((at, base - TALL * share))
        edges.append((edges[-1][0], base))
        d.path("busy", _without_flats(edges), close=True)
    _marks(d, x, strip, bottom)
    return d.markup()


def _marks(d: Drawing, x: Scale, strip: Strip, bottom: float) -> None:
    """Where something begins: the first mark and the last, and what has room between them."""
    *marks, last = sorted(strip.marks.items(), key=lambda item: item[1])
    free, edge = 0.0, WIDTH
    for name, cycle in (last, *marks):
        at, wide = x(cycle), text_width(name, 11)
        turned = at + 3 + wide > WIDTH  # no room at the right of the line
        left, right = (at - 3 - wide, at) if turned else (at, at + 3 + wide)
        if left < free or right > edge:
            continue
        d.line("begin", at, HEAD - 10, at, bottom)
        anchor, shift = ("end", -3) if turned else ("start", 3)
        d.text("beginname", at + shift, HEAD - 12, name, anchor=anchor)
        if name == last[0]:
            edge = left - 8
        else:
            free = right + 8


def _without_flats(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave out what lies between two points of the same height."""
    kept = points[:1]
    for n in range(1, len(points) - 1):
        if not points[n - 1][1] == points[n][1] == points[n + 1][1]:
            kept.append(points[n])
    return [*kept, points[-1]]


def timelines(report: Report) -> tuple[str, str] | None:
    """Pictures of a token and of one of its layers, if a simulation saw them."""
    seen = report.simulation and report.simulation.activity
    if not seen:
        return None
    return timeline(seen.token, "One token"), timeline(seen.of_layer, f"Layer {seen.layer}")
