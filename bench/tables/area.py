"""Tables of synthesis, targets, energy and the ablation: each figure says how it was obtained."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bench import energy
from bench.ablation import BOARDS, HELD
from bench.boards import bound
from bench.stored import Row
from bench.tables.models import RATIO
from bench.tables.printer import Listed, NotRun, Table, Tables, load
from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Channel, Resources, Target, target_names
from lightmamba.hardware.estimate.energy import constants
from lightmamba.hardware.estimate.resources import CELLS, GROUPS, group_of, resources
from lightmamba.model.config import SHAPES

__all__ = ["AREA"]

SYNTHESIZED = {  # arXiv 2502.15260, W4A4, after Vivado
    "u280, mamba2-2.7b": ("U280", Amount(297_000, 394_000, 1164, 912, 61)),
    "vck190-paper, mamba2-2.7b": ("VCK190", Amount(107_000, 130_000, 228, 912, 61)),
}
HEADER = ["LUT", "FF", "DSP", "BRAM (18 kbit)", "URAM"]
WIDTHS = {"fp16": "2.23", "w8a8": "3.61", "w4a4": "7.21"}  # arXiv 2502.15260, VCK190
CHOICES = {
    "as shipped": "7.21",
    "naive order": "5.32",
    "full Hadamard": "7.21",
    "no rotation": "5.32, naive order",
}
URAM = {HELD[0]: "246", HELD[2]: "61"}
SHOTS = {"fp16": "60.2", "w8a8": "60.2", "w4a4": "55.9"}  # zero-shot average, SSM included
CHOSEN = {  # rows of bench.accuracy, by its study
    "as shipped": ("choices", "the recipe as shipped"),
    "full Hadamard": ("choices", "full Hadamard before out_proj (the paper's)"),
    "no on-line Hadamard": ("choices", "no on-line Hadamard"),
    "no rotation": ("choices", "no rotation of the residual"),
    "scales 2^e, nearest": ("scales", "nearest"),
    "scales 2^e, that hold all": ("scales", "smallest that holds the largest value"),
}
NAMES = {
    "as shipped": "W4A4 as shipped: reordered, fused, H128 in blocks, scales (4 + m)/4·2^e",
    "naive order": "naive order of the rows",
    "full Hadamard": "full Hadamard before out_proj (as in the paper)",
    "no on-line Hadamard": "no on-line Hadamard",
    "no rotation": "no rotation of the residual",
    "scales 2^e, nearest": "activation scales 2^e, nearest",
    "scales 2^e, that hold all": "activation scales 2^e, smallest without clipping",
}
SAME = ("no rotation", "scales 2^e, nearest", "scales 2^e, that hold all")  # as shipped: hardware


def amount(block: Row) -> Amount:
    """Cells of a configuration, or of all blocks equal to one."""
    found = Amount(*(block[cell] for cell in ("lut", "ff", "dsp", "bram", "uram")))
    return found.times(block.get("count", 1))


def figures(cells: Amount) -> list[str]:
    """Cells by kind."""
    return [f"{getattr(cells, cell):,.0f}" for cell in CELLS]


def whole(machine: str, target: str) -> Table:
    """An accelerator by groups of blocks, next to the device and, if it has it, the paper's."""
    result = next((row for row in load("synth") if row["machine"] == machine), None)
    if result is None:
        raise NotRun(machine)
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
        board, cells = SYNTHESIZED[row["machine"]]
        yield {"name": f"paper, {board}, with Vivado", "cells": cells, "path": ""}


def _predicted(row: Row) -> dict[str, Any]:
    """Errors of the model of the cells."""
    predicted = sum(resources(ArchConfig.from_dict(row["arch"])).values(), Amount())
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
    body = [
        [
            f"paper, {width}",
            *map(_three, (r.watts_in_cells, r.watts, r.tokens_per_joule)),
            f"{r.paper_watts:.2f}",
            f"{r.paper_tokens_per_joule:g}",
        ]
        for width, r in ((width, energy.paper(width)) for width in energy.PAPER)
    ]
    return Table([*header, "paper, watts", "paper, tokens/J"], body)


def _three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _ablation(part: str, name: str) -> list[Row]:
    """Rows of the ablation on each board."""
    found = {(r["target"], r["part"], r["row"]): r for r in load("ablation")}
    return [found[board, part, name] for board in BOARDS]


def _paper(found: dict[str, str], row: str) -> str:
    return f"{found[row]} (the paper's)" if row in found else "–"


def _speed(row: Row) -> str:
    how = [(row.get("simulated"), "simulated"), (row["estimated"], "estimated")]
    return "; ".join(f"{value:.4g} ({name})" for value, name in how if value)


def _cells(row: Row) -> str:
    cells = row["cells"]
    return f"{cells['lut']:,.0f}, {cells['dsp']:,.0f} (estimated)" if cells else "not run"


def _ratio(benchmark: str, **wanted: str) -> str:
    """Accuracy of a stored row."""
    try:
        found = [r for r in load(benchmark) if wanted.items() <= r.items()]
    except NotRun:
        found = []
    return (RATIO + ", KL {kl:.4f} (measured)").format_map(found[0]) if found else "not run"


def ablation_widths() -> Table:
    """Widths of weights and activations, on both boards."""
    body = []
    for name in ("fp16", "w8a8", "w4a8", "w4a4"):
        rows, floats = _ablation("widths", name), name == "fp16"
        ratio = _ratio("accuracy", method="ours", model="bundled", width=name)
        body.append(
            [
                name.upper(),
                _speed(rows[0]),
                _paper(WIDTHS, name),
                _speed(rows[1]),
                f"{rows[0]['bytes'] / 1e6:,.0f} (estimated)",
                "–" if floats else "; ".join(_cells(row) for row in rows),
                "1 (by definition)" if floats else ratio,
                _paper(SHOTS, name),
            ]
        )
    cells = f"LUT, DSP of `{BOARDS[0]}`; of `{BOARDS[1]}`"
    more = ["MB per token", cells, "× float, KL in nats, bundled model", "zero-shot, 2.7B"]
    return Table([*SPEEDS, *more], body, load("ablation"))


def ablation_choices() -> Table:
    """The effect of each single choice, on both boards."""
    body = []
    for name, words in NAMES.items():
        ratio, speeds = "same integers", ["same hardware"] * 2
        if name in CHOSEN:
            benchmark, row = CHOSEN[name]
            ratio = _ratio(benchmark, **{"scale" if benchmark == "scales" else "choice": row})
        if name not in SAME:
            speeds = [_speed(row) for row in _ablation("choices", name)]
        body.append([words, speeds[0], _paper(CHOICES, name), speeds[1], ratio])
    return Table([*SPEEDS, "× float, KL in nats, bundled model"], body, load("ablation"))


def ablation_buffers() -> Table:
    """On-chip memory of the state-space unit."""
    header, body = ["what the SSM stores on chip (estimated)"], []
    for board in BOARDS:
        header += [f"`{board}`, Mbit", "URAM, BRAM (18 kbit), LUT"]
    for held in HELD:
        cells = []
        for row in _ablation("buffers", held):
            took = [row["cells"][name] for name in ("uram", "bram18", "lut")]
            cells += [f"{row['bits'] / 1e6:.2f}", ", ".join(f"{n:,.0f}" for n in took)]
        body.append([held.replace("whole", "entire"), *cells, _paper(URAM, held)])
    return Table([*header, "the paper's URAM, complete design"], body, load("ablation"))


SPEEDS = [
    "Mamba2-2.7B, tokens per second",
    f"`{BOARDS[0]}`",
    "the paper's VCK190",
    f"`{BOARDS[1]}`",
]
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
    "bounds": bounds,
    "energy-constants": energy_constants,
    "energy-paper": energy_paper,
    "ablation-widths": ablation_widths,
    "ablation-choices": ablation_choices,
    "ablation-buffers": ablation_buffers,
}
