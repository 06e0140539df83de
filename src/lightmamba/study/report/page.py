"""The page: its sections, and a list of those without data."""

from dataclasses import dataclass

from lightmamba.study.report import rows
from lightmamba.study.report.contents import Report
from lightmamba.study.report.figures import figure, percent, plain
from lightmamba.study.report.rows import Table

__all__ = ["MISSING", "Big", "missing", "render"]

# What is left out when its data is not given, and which command gives it.
MISSING = {
    "simulation": ("Simulated numbers", "lightmamba simulate BUILD --results FILE",
                   "then report … --results FILE; or report … --simulate 4"),
    "timeline": ("Timeline of a token", "lightmamba simulate BUILD --results FILE",
                 "the simulation given has no activity"),
    "resources": ("Resources", "lightmamba synth BUILD --flow xcup --results FILE",
                  "then report … --results FILE"),
    "energy": ("Energy", "lightmamba report … --target NAME",
               "with a target that names a device and its memories"),
    "outliers": ("Outliers before and after rotation", "lightmamba report … --checkpoint CKPT",
                 "with the float checkpoint that was quantized; random weights have none"),
    "accuracy": ("Accuracy",
                 "lightmamba evaluate MODEL --text TEXT --against CKPT --results FILE",
                 "then report … --results FILE"),
    "front": ("Pareto front", "lightmamba explore SHAPE --target NAME --out FOLDER",
              "then report … --results FOLDER/front.jsonl"),
}  # fmt: skip


@dataclass(frozen=True)
class Big:
    """A number that is read first."""

    value: str
    words: str
    origin: str
    note: str = ""


def missing(report: Report) -> list[str]:
    """Names of the sections that have no data."""
    activity = report.simulation.activity if report.simulation else None
    device = report.estimate.resources or report.synthesis
    given = {
        "simulation": report.simulation,
        "timeline": activity or report.simulation is None,  # else it is said once
        "resources": device,
        "energy": report.estimate.energy,
        "outliers": report.outliers,
        "accuracy": report.accuracy,
        "front": report.front,
    }
    return [name for name in MISSING if not given[name]]


def render(report: Report) -> str:
    """The page as HTML: one file, nothing fetched, no scripts."""
    import jinja2
    from markupsafe import Markup

    from lightmamba.study.plots.style import COLORS
    from lightmamba.study.report.pictures import pictures

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lightmamba.study", "report"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        report=report, subject=report.subject, made=report.made, estimate=report.estimate,
        simulation=report.simulation, claim=report.claim, paper=report.paper,
        bigs=_bigs(report), tables=_tables(report),
        accuracy=[(found, rows.accuracy(found)) for found in report.accuracy],
        left_out=_left_out(report), sources=_sources(report),
        pictures={name: Markup(svg) for name, svg in pictures(report).items()}, colors=COLORS,
        figure=figure, percent=percent,
    )  # fmt: skip


def _left_out(report: Report) -> list[tuple[str, str, str]]:
    """Sections that have no data: name, command that gives them, and how to use it."""
    found = {name: MISSING[name] for name in missing(report)}
    if (reason := report.estimate.area_unknown) and "energy" in found:
        found["energy"] = (*found["energy"][:2], reason)
    return list(found.values())


def _tables(report: Report) -> dict[str, Table]:
    found = {
        "headline": rows.headline(report),
        "lanes": rows.lanes(report),
        "traffic": rows.traffic(report),
        "bounds": rows.bounds(report),
        "published_accuracy": rows.published_accuracy(report),
    }
    found["passes"] = rows.passes(report)
    if report.estimate.resources or report.synthesis:
        found["resources"] = rows.resources(report)
    if report.front is not None:
        found["front"] = rows.front(report.front)
    return found


def _sources(report: Report) -> list[tuple[str, str]]:
    """Sources of the target's numbers, each text once, and the channels that it is for."""
    of: dict[str, list[str]] = {}
    for channel in report.subject.target.channels:
        of.setdefault(" ".join(channel.source.split()), []).append(channel.name)
    found = [
        (text, names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}")
        for text, names in of.items()
    ]
    device = report.subject.target.resources
    return found if device is None else [*found, (" ".join(device.source.split()), "device")]


def _bigs(report: Report) -> list[Big]:
    """At most four."""
    e, sim, claim = report.estimate, report.simulation, report.claim
    origin, speed = "estimated", e.tokens_per_second
    if sim is not None:
        origin, speed = "simulated", sim.tokens_per_second
    note = ""
    if claim is not None:
        times = figure(speed / claim.tokens_per_second, 2)
        note = f"{times} × the paper’s {plain(claim.tokens_per_second)}"
        if claim.clock_mhz:
            note += (
                f", at {plain(report.subject.target.clock_mhz)} MHz, not {plain(claim.clock_mhz)}"
            )
    elif sim is not None:
        note = f"estimated: {figure(e.tokens_per_second)}"
    found = [Big(figure(speed), "tokens per second", origin, note)]
    used = percent(e.bandwidth_utilization, 0)
    found.append(
        Big(used, "of the nominal bandwidth", "estimated", f"bound by {e.bound.replace('_', ' ')}")
    )
    if e.energy is not None:
        low, likely, high = e.energy.joules
        between = f"between {figure(1 / high, 2)} and {figure(1 / low, 2)}"
        found.append(Big(figure(1 / likely, 2), "tokens per joule", "estimated", between))
    if share := report.share:
        found.append(Big(percent(share["device_share"], 0), "of the device", "estimated"))
    elif sim is not None:
        equal = "bit-exact with the engine" if sim.matches_engine else "the hardware differs"
        found.append(Big(f"{sim.tokens:,}", "tokens simulated", "simulated", equal))
    return found
