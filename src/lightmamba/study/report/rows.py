"""Tables of a page: text, ready to be set."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightmamba.arch.target import Resources
from lightmamba.hardware.estimate.objectives import OBJECTIVES, Objective
from lightmamba.hardware.estimate.result import Amount, Energy
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.study.report.contents import Accuracy, Report, Score
from lightmamba.study.report.figures import (
    THIN,
    bytes_of,
    figure,
    percent,
    plain,
    signed,
    spread,
    whole,
)

__all__ = [
    "CELLS",
    "Row",
    "Table",
    "accuracy",
    "bounds",
    "front",
    "headline",
    "lanes",
    "passes",
    "published_accuracy",
    "resources",
    "traffic",
]  # fmt: skip

NONE = "\u2013"
CELLS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM 18k", "uram": "URAM"}


@dataclass(frozen=True)
class Row:
    """Cells of a row; ``kind`` is a class of the style sheet."""

    cells: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """The first column is text, the others are figures; a header that is an origin is marked."""

    header: Sequence[str]
    rows: Sequence[Row]

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row.cells) != len(self.header)]:
            raise ValueError(f"a row of {len(self.header)} cells is wanted, not {wrong[0].cells}")


def headline(report: Report) -> Table:
    """Claimed, estimated, simulated and synthesized figures, side by side."""
    e, sim, claim = report.estimate, report.simulation, report.claim
    columns: dict[str, dict[str, str]] = {}
    if claim is not None:
        columns["published"] = {
            "tokens/s": plain(claim.tokens_per_second),
            "clock, MHz": plain(claim.clock_mhz) if claim.clock_mhz else NONE,
            "bytes per token": bytes_of(report.paper.bytes_per_token(claim.scheme)) + "*",
            "tokens/J": plain(claim.tokens_per_joule) if claim.tokens_per_joule else NONE,
        }
        if claim.gb_per_s:
            moved = report.paper.bytes_per_token(claim.scheme) * claim.tokens_per_second
            used = percent(moved / (1e9 * claim.gb_per_s), 0)
            columns["published"]["of the nominal bandwidth"] = used + "*"
    columns["estimated"] = {
        "tokens/s": figure(e.tokens_per_second),
        "clock, MHz": plain(e.clock_mhz),
        "cycles per token": whole(e.cycles),
        "cycles per token of a prompt": whole(e.prompt_cycles),
        "bytes per token": bytes_of(sum(e.channel_bytes.values())),
        "of the nominal bandwidth": percent(e.bandwidth_utilization),
        "lanes multiply": percent(e.stalls["multiplying"] / e.cycles),
    }
    if e.energy is not None:
        columns["estimated"]["tokens/J"] = _per_joule(e.energy)
    if sim is not None:
        busiest = max(e.channel_cycles, key=lambda name: e.channel_cycles[name])
        rate = sim.bytes_per_token[busiest] / sim.cycles_per_token
        columns["simulated"] = {
            "tokens/s": figure(sim.tokens_per_second),
            "clock, MHz": plain(float(sim.machine["clock_mhz"])),
            "cycles per token": whole(sim.cycles_per_token),
            "bytes per token": bytes_of(sum(sim.bytes_per_token.values())),
            "of the nominal bandwidth": percent(rate / e.nominal_bytes_per_cycle[busiest]),
            "lanes multiply": percent(sim.stalls_per_token["multiplying"] / sim.cycles_per_token),
        }
    for origin, amount in report.amounts.items():
        found = {words: whole(getattr(amount, cell)) for cell, words in CELLS.items()}
        columns[origin] = columns.get(origin, {}) | found
    order = (
        "tokens/s", "cycles per token", "cycles per token of a prompt", "clock, MHz",
        "bytes per token", "of the nominal bandwidth", "lanes multiply", "tokens/J",
        *CELLS.values(),
    )  # fmt: skip
    rows = [
        Row((name, *(column.get(name, NONE) for column in columns.values())))
        for name in order
        if any(column.get(name, NONE) != NONE for column in columns.values())
    ]
    return Table(("", *columns), rows)


def passes(report: Report) -> Table:
    """Kinds of passes next to each other: tokens, time, and bottleneck."""
    kinds = report.estimate.kinds
    found = [report.estimate.mode(mode) for mode in kinds]
    figures: dict[str, list[str]] = {
        "tokens": [whole(e.tokens) for e in found],
        "cycles": [whole(e.cycles) for e in found],
        "tokens/s": [figure(e.tokens_per_second) for e in found],
        "bound by": [e.bound.replace("_", " ") for e in found],
        "busy with it": [percent(e.bound_cycles / e.cycles) for e in found],
        "SSM works": [percent(e.unit_cycles["ssm"] / e.cycles) for e in found],
        "bytes per token": [bytes_of(sum(e.channel_bytes.values()) / e.tokens) for e in found],
        "tokens/J": [NONE if e.energy is None else _per_joule(e.energy) for e in found],
    }
    return Table(("", *kinds), [Row((name, *cells)) for name, cells in figures.items()])


def _per_joule(energy: Energy) -> str:
    low, likely, high = energy.joules
    return spread(1 / high, 1 / likely, 1 / low)


def lanes(report: Report) -> Table:
    """Cycles of a token by what the lanes do."""
    e, sim = report.estimate, report.simulation
    header, rows = ["", "estimated", "%"], []
    if sim is not None:
        header += ["simulated", "%", "difference"]
    for what in (*CYCLES, "together"):
        guess = e.cycles if what == "together" else e.stalls[what]
        cells = [what.replace("_", " "), whole(guess), f"{100 * guess / e.cycles:.1f}"]
        if sim is not None:
            seen = sim.cycles_per_token
            part = seen if what == "together" else sim.stalls_per_token[what]
            apart = signed(100 * (guess - part) / seen)
            cells += [whole(part), f"{100 * part / seen:.1f}", apart]
        rows.append(Row(cells, "sum" if what == "together" else f"part {what}"))
    return Table(header, rows)


def traffic(report: Report) -> Table:
    """Bytes by memory channel; channels that are alike share a row."""
    e, sim, target = report.estimate, report.simulation, report.subject.target
    rates = {c.name: (c.gb_per_s, c.attainable_gb_per_s) for c in target.channels}
    header = ["channel", "nominal", "attainable", "estimated", "% of the time"]
    header += ["simulated"] if sim is not None else []
    rows = []
    for group in _alike(list(rates), lambda name: (*rates[name], e.channel_cycles[name])):
        first = group[0]
        count = f" ({len(group)})" if len(group) > 1 else ""
        name = first if len(group) == 1 else f"{first} … {group[-1]}{count}"
        cells = [
            name, *(f"{figure(rate)}{THIN}GB/s" for rate in rates[first]),
            bytes_of(e.channel_bytes[first]),
            f"{100 * e.channel_cycles[first] / e.cycles:.1f}",
        ]  # fmt: skip
        if sim is not None:
            cells.append(bytes_of(sum(sim.bytes_per_token[n] for n in group) / len(group)))
        rows.append(Row(cells, "binds" if first == e.bound else ""))
    return Table(header, rows)


def bounds(report: Report) -> Table:
    """Cycles that each unit works on a token."""
    e = report.estimate
    ordered = sorted(e.unit_cycles.items(), key=lambda item: -item[1])
    rows = [
        Row(
            (unit.replace("_", " "), whole(n), f"{100 * n / e.cycles:.1f}"),
            "binds" if unit == e.bound else "",
        )
        for unit, n in ordered
    ]
    return Table(("unit", "estimated", "% of the time"), rows)


def resources(report: Report) -> Table:
    """Cells by block, and the device's."""
    blocks, origin = report.estimate.resources, "estimated"
    total = report.estimate.total
    if report.synthesis is not None:
        blocks, origin, total = report.synthesis.amounts, "synthesized", report.synthesis.total
    ordered = sorted(blocks.items(), key=lambda item: -item[1].lut)
    rows = [Row((name, *_cells(amount))) for name, amount in ordered]
    rows.append(Row((f"together, {origin}", *_cells(total)), "sum"))
    if report.synthesis is not None and report.estimate.resources:
        rows.append(Row(("together, estimated", *_cells(report.estimate.total)), "sum"))
    if (claim := report.claim) is not None and claim.amount is not None:
        rows.append(Row((f"the paper’s {claim.name}, {claim.scheme}", *_cells(claim.amount))))
    if (device := report.subject.target.resources) is not None:
        rows.append(Row(("the device has", *_cells(device)), "sum"))
        share = [
            percent(getattr(total, cell) / n) if (n := getattr(device, cell)) else NONE
            for cell in CELLS
        ]
        rows.append(Row((f"share, {origin}", *share)))
    return Table(("block", *CELLS.values()), rows)


def accuracy(found: Accuracy) -> Table:
    """Methods next to the float model; several formats side by side."""
    schemes = sorted({score.scheme for score in found.scores}, reverse=True)
    if len(schemes) == 1:
        return _one_scheme(found)
    scores = {(score.method, score.scheme): score for score in found.scores}
    header = ["perplexity × float", *(x for scheme in schemes for x in (scheme, "KL, nats"))]
    rows = []
    for method in dict.fromkeys(score.method for score in found.scores):
        cells = [method]
        for scheme in schemes:
            score = scores.get((method, scheme))
            cells += [NONE, NONE] if score is None else [_ratio(score), f"{score.kl:.4f}"]
        rows.append(Row(cells))
    return Table(header, rows)


def _one_scheme(found: Accuracy) -> Table:
    rows = [Row(("float", figure(found.reference, 4), "1", "0", "100"), "sum")]
    rows += [
        Row((s.method, figure(s.perplexity, 4), _ratio(s), f"{s.kl:.4f}",
             f"{100 * s.top1_agreement:.1f}"))
        for s in found.scores
    ]  # fmt: skip
    scheme = found.scores[0].scheme
    header = (scheme, "perplexity", "× float", "KL, nats", "same top token, %")
    return Table(header, rows)


def _ratio(score: Score) -> str:
    return f"{score.ratio:.4f} ± {score.ratio_standard_error:.4f}"


def published_accuracy(report: Report) -> Table:
    """The paper's own, on another model and other tasks."""
    rows = []
    for a in report.paper.accuracy:
        perplexity = NONE if a.perplexity is None else f"{a.perplexity:.2f}"
        if a.perplexity_above is not None:
            perplexity = f"> {a.perplexity_above:g}"
        rows.append(Row((a.method, a.scheme, f"{a.zero_shot:.1f}", perplexity)))
    return Table(("published", "scheme", "zero-shot average, %", "LAMBADA perplexity"), rows)


def front(found: Mapping[str, Any]) -> Table:
    """Every configuration of a front, with the figures that were searched for."""
    searched = {objective["name"] for objective in found["objectives"]}
    shown = [o for o in OBJECTIVES.values() if o.key in searched]
    rows = [Row((_title(p), *(_figure(o, p[o.key]) for o in shown))) for p in found["points"]]
    return Table(("configuration", *(o.label for o in shown)), rows)


def _title(point: Mapping[str, Any]) -> str:
    """Name of a machine, with its sizes."""
    machine = point["machine"]
    return (
        f"{point['name']}: {machine['lanes']} × {machine['port_bits']} bits, "
        f"{point['clock_mhz']:g} MHz, {point['scheme'].upper()}"
    )


def _figure(objective: Objective, value: float) -> str:
    if objective.key == "device_share":
        return percent(value)
    return figure(value, objective.digits)


def _cells(amount: Amount | Resources) -> list[str]:
    return [whole(getattr(amount, cell)) for cell in CELLS]


def _alike(names: Sequence[str], key: Callable[[str], tuple[float, ...]]) -> list[list[str]]:
    """Runs of names whose figures differ by less than a hundredth."""
    runs: list[list[str]] = []
    for name in names:
        mine = key(name)
        if runs and all(
            math.isclose(a, b, rel_tol=0.01) for a, b in zip(mine, key(runs[-1][0]), strict=True)
        ):
            runs[-1].append(name)
        else:
            runs.append([name])
    return runs
