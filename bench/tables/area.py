"""Tables of synthesis, targets and energy: each figure says how it was obtained."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench import energy
from bench.boards import bound, claimed
from bench.stored import Row
from bench.synth import CHECKS, PLAIN, machines
from bench.tables.printer import Listed, Table, Tables, load
from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Channel, Resources, Target, target_names
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.estimate.energy import constants
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.resources import CELLS, GROUPS, group_of, groups, resources
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import SHAPES
from lightmamba.numerics.model_formats import Formats

__all__ = ["AREA"]

SYNTHESIZED = {f"{name}, mamba2-2.7b": claimed(name) for name in ("u280", "vck190-paper")}
HEADER = ["LUT", "FF", "DSP", "BRAM (18 kbit)", "URAM"]


def amount(block: Row) -> Amount:
    """Cells of a configuration, or of all blocks equal to one."""
    found = Amount(*(block[cell] for cell in ("lut", "ff", "dsp", "bram", "uram")))
    return found.times(block.get("count", 1))


def figures(cells: Amount) -> list[str]:
    """Cells by kind."""
    return [f"{getattr(cells, cell):,.0f}" for cell in CELLS]


def whole(machine: str, target: str) -> Table:
    """An accelerator by groups of blocks, next to the device and, if it has it, the paper's."""
    result = load("synth", machine=machine)[0]
    sums: dict[str, Amount] = defaultdict(Amount)
    slowest: dict[str, tuple[float, str]] = {}
    for name, block in result["blocks"].items():
        group = group_of(name)
        sums[group] += amount(block)
        path = f"{block['path_ns']:.2f} ({block['lut_levels']} LUTs, {block['carry4']} carries)"
        slowest[group] = max(slowest.get(group, (0.0, "")), (block["path_ns"], path))
    body = [[g.name, *figures(sums[g.name]), slowest[g.name][1]] for g in GROUPS if g.name in sums]
    total, device = sum(sums.values(), Amount()), Target.load(target).resources
    assert device is not None
    shares = [f"{100 * getattr(total, c) / getattr(device, c):.1f} %" for c in CELLS]
    body += [["**total**", *figures(total), _path(result)], ["of the device", *shares, ""]]
    if machine in SYNTHESIZED:
        body.append(["paper, with Vivado", *figures(SYNTHESIZED[machine][1]), ""])
    header = [f"`{target}`, Mamba2-2.7B, W4A4 (synthesized)", *HEADER, "longest path, ns"]
    return Table(header, body, [result])


def _path(row: Row) -> str:
    return f"{row['path_ns']:.2f}, in {row['path_block']}"


def _with_papers(row: Row) -> Iterator[dict[str, Any]]:
    """A configuration, and the paper's of the same board."""
    yield {"name": row["machine"], "cells": amount(row), "path": _path(row)}
    if row["machine"] in SYNTHESIZED:
        claim, cells = SYNTHESIZED[row["machine"]]
        yield {"name": f"paper, {claim.name}, with Vivado", "cells": cells, "path": ""}


def _predicted(row: Row) -> dict[str, Any]:
    """Errors of the model of the cells."""
    predicted = sum(resources(machines()[row["machine"]]).values(), Amount())
    found, cells = amount(row), dict[str, str]()
    for cell in CELLS:
        here, there = getattr(found, cell), getattr(predicted, cell)
        cells[cell] = f"{100 * (there / here - 1):+.1f} %" if here else f"{there - here:+.0f}"
    return row | {"cells": cells}


def _targets() -> list[Target]:
    return [Target.load(name) for name in target_names()]


def _memory(channels: tuple[Channel, ...]) -> str:
    """Channels that are alike, together: their number, kind, GB/s by data sheet and attained."""
    alike = Counter(
        (
            c.name.rstrip("0123456789"),
            c.gb_per_s,
            c.attainable_gb_per_s,
            c.kind or c.name.rstrip("0123456789"),
        )
        for c in channels
    )
    return "; ".join(
        f"{f'{n} x ' if n > 1 else ''}{kind} {nominal:.4g}, {attained:.4g}"
        for (_, nominal, attained, kind), n in alike.items()
    )


def _device(has: Resources | None) -> list[str]:
    """Logic and memories of a device, two in a cell."""
    if has is None:
        return ["", ""]
    return [f"{has.lut:,}, {has.dsp:,}", f"{has.bram18:,}, {has.uram:,}"]


def targets() -> Table:
    """Every target: configuration, memory, device."""
    header = ["target", "MHz", "lanes x weights", "tokens", "S", "GB/s by data sheet, attainable"]
    body = [
        [
            f"`{t.name}`",
            f"{t.clock_mhz:g}",
            f"{t.machine.lanes} x {t.machine.port_bits // 4}",
            str(t.machine.tokens),
            str(t.machine.state_elements),
            _memory(t.channels),
            *_device(t.resources),
        ]
        for t in _targets()
    ]
    return Table([*header, "LUT, DSP", "BRAM (18 kbit), URAM"], body)


def sources() -> Table:
    """Where the numbers of every target are from; a text is given once."""
    body, first = list[list[str]](), dict[str, str]()
    for t in _targets():
        said: dict[str, str] = {}
        for channel in t.channels:
            said.setdefault(channel.source.strip(), channel.kind or channel.name)
        parts = [(kind, source) for source, kind in said.items()]
        for name, part in (("device", t.resources), ("power", t.power)):
            if part:
                parts.append((name, part.source.strip()))
        new = [(name, source) for name, source in parts if source not in first]
        old = dict.fromkeys(first[source] for _, source in parts if source in first)
        body += [[f"`{t.name}`", name, source] for name, source in new]
        if old:
            what = "all" if not new else "the rest"
            body.append([f"`{t.name}`", what, f"as {' and '.join(f'`{name}`' for name in old)}"])
        first |= {source: t.name for _, source in new}
    return Table(["target", "part", "source"], body)


def kinds() -> Table:
    """A Mamba2 model on its own machine, and on one that has units of all kinds of layers."""
    name, target, every = "mamba2-2.7b", Target.load("u280"), ("attention", "mamba2", "mlp")
    work = Workload.of(SHAPES[name], Formats(), target, "reordered")
    machines = {
        "its own machine": work.arch,
        "with multipliers of 8 bits": replace(work.arch, multiplier_bits=8),
        f"with `--kinds {','.join(every)}`": plan(work.config, work.formats, target, kinds=every),
    }
    body = []
    for what, arch in machines.items():
        found = estimate_pass(replace(work, arch=arch))
        body.append([what, f"{found.cycles:,}", *figures(found.total)])
    header = [f"{name} on `{target.name}`, W4A4 (estimated)", "cycles per token", *HEADER]
    return Table(header, body)


def attention() -> Table:
    """Blocks that a machine has for attention alone, on a U280."""
    own = {g.name for g in groups(("attention", *PLAIN))} - {g.name for g in groups(PLAIN)}
    every, body, shown = machines(), [], list[Row]()
    for row in load("synth"):
        target, shape = CHECKS.get(row["machine"], ("", ""))
        arch = every[row["machine"]]
        if target != "u280" or "attention" not in arch.kinds:
            continue
        blocks = [(group_of(name), amount(block)) for name, block in row["blocks"].items()]
        cells = sum((cells for group, cells in blocks if group in own), Amount())
        sizes = f"{arch.attention_positions} x {arch.attention_rows}"
        body.append([shape, sizes, *figures(cells)])
        shown.append(row)
    header = ["attention on `u280` (synthesized)", "positions x queries in a cycle"]
    return Table([*header, *HEADER], body, shown)


def bounds() -> Table:
    """Tokens per second that the memory allows, and the bottleneck."""
    shown = [t.name for t in _targets() if t.machine.tokens == 1]  # of others see bench.full
    body = [[f"`{name}`", *(_bound(name, shape) for shape in SHAPES)] for name in shown]
    shapes = ("bundled" if shape == "demo" else shape for shape in SHAPES)
    return Table(["bound, tokens per second", *shapes], body)


def _bound(target: str, shape: str) -> str:
    found = bound(target, shape)
    if found is None:
        return "too large"
    alike = re.sub(r"^(hbm|lane|lpddr4-)\d+$", lambda m: m[1].rstrip("-"), found.binds)
    return f"{found.tokens_per_second:.4g} ({alike})"


def energy_constants() -> Table:
    """Constants of the energy model."""
    body = [
        [f"`{name}`", ", ".join(f"{v:g}" for v in c.value), c.unit, c.source.strip()]
        for name, c in constants().items()
    ]
    return Table(["constant", "low, likely, high", "unit", "source"], body)


def energy_paper() -> Table:
    """The paper's accelerator by our constants, next to the paper's figures."""
    header = ["", "watts, logic only", "watts, total", "tokens/J, total"]
    body = []
    for width, (claim, _) in energy.PAPER.items():
        rate, per_joule = claim.tokens_per_second, claim.tokens_per_joule
        assert per_joule is not None
        got, cells = energy.paper(width)
        watts = ([rate * joules for joules in each] for each in (cells, got.joules))
        ours = map(_three, (*watts, got.tokens_per_joule))
        body.append([f"paper, {width}", *ours, f"{rate / per_joule:.2f}", f"{per_joule:g}"])
    return Table([*header, "paper, watts", "paper, tokens/J"], body)


def _three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


AREA: Tables = {
    "synth-u280": partial(whole, "u280, mamba2-2.7b", "u280"),
    "synth-machines": Listed(
        "synth",
        [
            ("configuration (synthesized)", "{name}"),
            *((name, f"{{cells.{cell}:,.0f}}") for name, cell in zip(HEADER, CELLS, strict=True)),
            ("longest path, ns", "{path}"),
        ],
        lines=_with_papers,
    ),
    "synth-model": Listed(
        "synth",
        [
            ("predicted against synthesized", "{machine}"),
            *((name, f"{{cells[{cell}]}}") for name, cell in zip(HEADER, CELLS, strict=True)),
        ],
        lines=lambda row: (_predicted(row),),
    ),
    "targets": targets,
    "target-sources": sources,
    "kinds": kinds,
    "attention": attention,
    "bounds": bounds,
    "energy-constants": energy_constants,
    "energy-paper": energy_paper,
}
