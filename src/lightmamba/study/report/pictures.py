"""Pictures of a page, from what it reports."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from lightmamba.arch.target import Resources
from lightmamba.device.sim import Strip
from lightmamba.hardware.estimate.result import Amount
from lightmamba.study.plots import bars
from lightmamba.study.plots.front import front_figure
from lightmamba.study.plots.ranges import ranges
from lightmamba.study.plots.roofline import Point, Roof, roofline
from lightmamba.study.plots.style import svg
from lightmamba.study.plots.timeline import timeline
from lightmamba.study.report.contents import Report
from lightmamba.study.report.figures import figure, spread
from lightmamba.study.report.rows import CELLS

__all__ = ["pictures", "points", "roofs"]


def pictures(report: Report) -> dict[str, str]:
    """SVG by name, as far as there is data."""
    return {name: svg(drawn, name, about) for name, (drawn, about) in _drawn(report).items()}


def _drawn(report: Report) -> dict[str, tuple[Figure, str]]:
    """Figures, and what they show."""
    e, sim, claim = report.estimate, report.simulation, report.claim
    compute = report.subject.compute_bound
    busy = f"all multipliers busy: {figure(compute)} tokens/s"
    cycles = {"estimated": e.stalls} | ({"simulated": sim.stalls_per_token} if sim else {})
    found = {
        "roofline": (
            roofline(points(report), roofs(report), compute, busy),
            "Bytes per token against tokens per second, with the roofs of memory and multipliers",
        ),
        "stalls": (bars.stalls(cycles), "Cycles of a token by what the lanes do in them"),
        "passes": (
            bars.stalls({mode: e.mode(mode).stalls for mode in e.kinds}, "pass"),
            "Cycles of each kind of pass by what the lanes do in them",
        ),
    }
    if sim is not None and sim.activity:
        seen, about = sim.activity, "Share of cycles in which each unit passes data on, over "
        found["token"] = (_timeline(seen.token), about + "a token")
        found["layer"] = (_timeline(seen.of_layer), f"{about}layer {seen.layer}")
    given = report.amounts
    if (device := report.subject.target.resources) is not None and len(given) > bool(claim):
        found["shares"] = (bars.shares(_shares(device, given)), "Share of the device by cell")
    if e.energy is not None:
        joules = 1 / claim.tokens_per_joule if claim and claim.tokens_per_joule else None
        parts = {name.replace("_", " "): part for name, part in e.energy.parts.items()}
        parts["together"] = e.energy.joules
        found["energy"] = (
            bars.energy(parts, joules, spread), "Millijoules per token by part, with ranges"
        )  # fmt: skip
    if report.outliers is not None:
        found["outliers"] = (
            ranges(report.outliers.panels),
            "Magnitudes by channel over their rms before and after the rotations",
        )
    if report.front is not None:
        here = {"tokens_per_second": e.tokens_per_second, **report.share}
        content = {**report.front, "base": here}
        found["front"] = (
            front_figure(content, ("size",), "this page’s"),
            "Tokens per second against the largest share of the device",
        )
    return found


def _timeline(strip: Strip) -> Figure:
    return timeline(strip.start, strip.bin_cycles, strip.busy, strip.marks)


def _shares(device: Resources, amounts: Mapping[str, Amount]) -> dict[str, dict[str, float]]:
    """Share of each kind of cell that the device has, by origin."""
    has = {cell: there for cell in CELLS if (there := getattr(device, cell))}
    return {
        origin: {CELLS[cell]: getattr(amount, cell) / there for cell, there in has.items()}
        for origin, amount in amounts.items()
    }


def points(report: Report) -> list[Point]:
    """This accelerator, and the paper's if they run the same model."""
    s, e = report.subject, report.estimate
    ours = f"{s.target.name}, {s.scheme}"
    found = [Point(ours, "estimated", sum(e.channel_bytes.values()), e.tokens_per_second)]
    if report.simulation is not None:
        moved = sum(report.simulation.bytes_per_token.values())
        speed = report.simulation.tokens_per_second
        found.append(Point(ours, "simulated", moved, speed))
    if s.config == report.paper.config:
        found += [
            Point(f"{p.name}, {p.scheme}", "published", report.paper.bytes_per_token(p.scheme),
                  p.tokens_per_second)
            for p in report.paper.platforms
        ]  # fmt: skip
    return found


def roofs(report: Report) -> list[Roof]:
    """Bandwidths of this accelerator's memory, and of the paper's other boards.

    The roof of several channels is that of the busiest: all bytes of a token over the time that
    this one takes for its own. The paper's are left out where this page is of another model.
    """
    e, s = report.estimate, report.subject
    total, second = sum(e.channel_bytes.values()), e.clock_mhz * 1e6
    nominal = max(n / e.nominal_bytes_per_cycle[name] for name, n in e.channel_bytes.items())
    memory = {
        "attainable": total / max(e.channel_cycles.values()) * second,
        "nominal": total / nominal * second,
    }
    if memory["nominal"] < 1.01 * memory["attainable"]:
        del memory["nominal"]
    found = [Roof(kind, rate, f"{kind} {figure(rate / 1e9)} GB/s") for kind, rate in memory.items()]
    if s.config == report.paper.config:
        others = {
            p.gb_per_s: p for p in report.paper.platforms
            if p.gb_per_s and not s.target.name.startswith(p.target)
        }  # fmt: skip
        found += [
            Roof("published", 1e9 * rate, f"the paper’s {p.name}, {rate:g} GB/s")
            for rate, p in others.items()
        ]
    return found
