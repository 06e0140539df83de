"""Bytes of a token against tokens per second, under the roofs of memory and multipliers."""

import math
from dataclasses import dataclass

from lightmamba.report.contents import Report
from lightmamba.report.drawing import WIDTH, Drawing, text_width
from lightmamba.report.figures import bytes_of, figure
from lightmamba.report.labels import place
from lightmamba.report.scale import Scale

__all__ = ["Point", "points", "roofline", "roofs"]

TOP, BOTTOM, LEFT, RIGHT = 30.0, 370.0, 64.0, WIDTH - 12.0
NEAR = 24.0  # points of the same machine with less between them share a name
STEP = 9  # between points of a line that labels are kept from


@dataclass(frozen=True)
class Point:
    """One machine: where its token stands, and who says so."""

    label: str
    origin: str  # claimed, estimated or simulated
    bytes_per_token: float
    tokens_per_second: float


def roofs(report: Report) -> dict[str, float]:
    """Bytes per second of the memories, at the share of each that a token takes.

    The roof of several channels is where the busiest one is: all bytes of a token over the time
    that this one needs for its own.
    """
    e = report.estimate
    total, second = sum(e.channel_bytes.values()), e.clock_mhz * 1e6
    nominal = max(n / e.nominal_bytes_per_cycle[name] for name, n in e.channel_bytes.items())
    return {
        "attainable": total / max(e.channel_cycles.values()) * second,
        "nominal": total / nominal * second,
    }


def points(report: Report) -> list[Point]:
    """This machine, and the paper's where they run the same model."""
    s, e = report.subject, report.estimate
    ours = f"{s.target.name}, {s.scheme}"
    found = [Point(ours, "estimated", sum(e.channel_bytes.values()), e.tokens_per_second)]
    if report.simulation is not None:
        moved = sum(report.simulation.bytes_per_token.values())
        speed = report.simulation.tokens_per_second
        found.append(Point(ours, "simulated", moved, speed))
    if s.config == report.paper.config:
        found += [
            Point(f"{p.name}, {p.scheme}", "claimed", report.paper.bytes_per_token(p.scheme),
                  p.tokens_per_second)
            for p in report.paper.platforms
        ]  # fmt: skip
    return found


def roofline(report: Report) -> str:
    """Draw it."""
    found, compute = points(report), report.subject.compute_bound
    lines = _lines(report)
    sizes, speeds = [p.bytes_per_token for p in found], [p.tokens_per_second for p in found]
    x = Scale(min(sizes) / 2.2, max(sizes) * 2.2, LEFT, RIGHT, log=True)
    most = roofs(report)["nominal"] / min(sizes)
    high = max(*speeds, 1.25 * compute, 1.25 * most) * 1.3
    y = Scale(min(*speeds, compute) / 2.5, high, BOTTOM, TOP, log=True)
    d = Drawing(
        BOTTOM + 44, "Roofline",
        "Bytes per token against tokens per second, with the roofs of memory and multipliers",
    )  # fmt: skip
    d.across(x, TOP, BOTTOM, [bytes_of(v, 1) for v in x.ticks()])
    d.upright(y, LEFT, RIGHT, [f"{v:,g}" for v in y.ticks()])
    d.text("axis", RIGHT, BOTTOM + 36, "bytes per token", anchor="end")
    d.text("axis", 8, 14, "tokens per second")

    spots = [(x(a), y(b)) for a, b in zip(sizes, speeds, strict=True)]
    d.line("roof", LEFT, y(compute), RIGHT, y(compute))
    busy = f"all multipliers busy: {figure(compute)} tokens/s"
    d.text("roofname", RIGHT - 4, y(compute) - 6, busy, anchor="end")
    taken = [(LEFT + n, y(compute)) for n in range(0, int(RIGHT - LEFT), STEP)]
    taken += [(RIGHT - n, y(compute) - 10) for n in range(0, 6 * len(busy), STEP)]
    for line in lines:
        taken += _slope(d, x, y, line, spots)

    room = (LEFT + 2, TOP, RIGHT, BOTTOM)
    words = [p.label for p in found]
    if len(found) > 1 and found[1].label == found[0].label and math.dist(*spots[:2]) < NEAR:
        words[0] = ""  # one name for both
    names = place(spots, words, room, taken)
    for point, spot, label in zip(found, spots, names, strict=True):
        d.mark(point.origin, *spot)
        d.text(f"label {point.origin}", label.x, label.y, label.words, anchor=label.anchor)
    return d.markup()


@dataclass(frozen=True)
class _Line:
    """A memory's roof: bytes per second, and its name, above or below it."""

    kind: str
    rate: float
    words: str
    above: bool = True


def _lines(report: Report) -> list[_Line]:
    """Roofs of this machine's memory, and of the paper's other boards where they run this model."""
    memory, s = roofs(report), report.subject
    if memory["nominal"] < 1.01 * memory["attainable"]:
        del memory["nominal"]
    found = [
        _Line(kind, rate, f"{kind} {figure(rate / 1e9)} GB/s", above=kind == "nominal")
        for kind, rate in memory.items()
    ]
    if s.config == report.paper.config:
        others = {
            p.gb_per_s: p for p in report.paper.platforms
            if p.gb_per_s and not s.target.name.startswith(p.target)
        }  # fmt: skip
        found += [
            _Line("claimed", 1e9 * rate, f"the paper’s {p.name}, {rate:g} GB/s")
            for rate, p in others.items()
        ]
    return found


def _slope(
    d: Drawing, x: Scale, y: Scale, line: _Line, spots: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Draw a roof, tokens = rate / bytes, with its name where no spot is near; points along it."""
    first, last = max(x.low, line.rate / y.high), min(x.high, line.rate / y.low)
    if first >= last:
        return []
    x1, y1, x2, y2 = x(first), y(line.rate / first), x(last), y(line.rate / last)
    d.line(f"roof {line.kind}", x1, y1, x2, y2)
    length, turn = math.hypot(x2 - x1, y2 - y1), math.atan2(y2 - y1, x2 - x1)
    along = [
        (x1 + at * math.cos(turn), y1 + at * math.sin(turn)) for at in range(0, int(length), STEP)
    ]
    needed = text_width(line.words, 11)
    away = -6.0 if line.above else 14.0
    half = 0.5 * needed
    middles = [
        (px + half * math.cos(turn) - away * math.sin(turn),
         py + half * math.sin(turn) + away * math.cos(turn))
        for px, py in along[: max(0, len(along) - int(needed) // STEP - 2)]
    ]  # fmt: skip
    if not middles:
        return along

    def clear(middle: tuple[float, float]) -> float:
        return min((math.dist(middle, spot) for spot in spots), default=math.inf)

    good = [m for m in middles if clear(m) > half + 14]
    mx, my = good[-1] if good else max(middles, key=clear)
    d.text("roofname", mx, my, line.words, anchor="middle", turn=math.degrees(turn))
    name = [
        (mx + at * math.cos(turn), my + at * math.sin(turn))
        for at in range(-int(half), int(half), STEP)
    ]
    return along + name
