"""Tables of synthesis results."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.markdown import NotRun, Table, load
from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate.resources import CELLS, GROUPS, group_of, resources

__all__ = ["SYNTH"]

U280, VCK190 = "u280, mamba2-2.7b", "vck190-paper, mamba2-2.7b"
PAPER = {  # arXiv 2502.15260, W4A4, after Vivado
    U280: ("U280", Amount(297_000, 394_000, 1164, 912, 61)),
    VCK190: ("VCK190", Amount(107_000, 130_000, 228, 912, 61)),
}
HEADER = ["LUT", "FF", "DSP", "BRAM (18 kbit)", "URAM"]


def amount(block: dict[str, Any]) -> Amount:
    """Cells of a configuration, or of all blocks equal to one."""
    found = Amount(*(block[cell] for cell in ("lut", "ff", "dsp", "bram", "uram")))
    return found.times(block.get("count", 1))


def figures(cells: Amount) -> list[str]:
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
    rows = [[g.name, *figures(sums[g.name]), slowest[g.name][1]] for g in GROUPS if g.name in sums]
    total, device = sum(sums.values(), Amount()), Target.load(target).resources
    assert device is not None
    shares = [f"{100 * getattr(total, c) / getattr(device, c):.1f} %" for c in CELLS]
    rows += [
        ["**total**", *figures(total), f"{result['path_ns']:.2f}, in {result['path_block']}"],
        ["of the device", *shares, ""],
    ]
    if machine in PAPER:
        rows.append(["paper, with Vivado", *figures(PAPER[machine][1]), ""])
    header = [f"`{target}`, Mamba2-2.7B, W4A4 (synthesized)", *HEADER, "longest path, ns"]
    return Table(header, rows, [result])


def machines() -> Table:
    """All configurations, and the paper's."""
    rows = []
    for result in load("synth"):
        name = result["machine"]
        path = f"{result['path_ns']:.2f}, in {result['path_block']}"
        rows.append([name, *figures(amount(result)), path])
        if name in PAPER:
            rows.append([f"paper, {PAPER[name][0]}, with Vivado", *figures(PAPER[name][1]), ""])
    header = ["configuration (synthesized)", *HEADER, "longest path, ns"]
    return Table(header, rows, load("synth"))


def model() -> Table:
    """Synthesized and predicted."""
    rows = []
    for result in load("synth"):
        measured = amount(result)
        predicted = sum(resources(ArchConfig.from_dict(result["arch"])).values(), Amount())
        cells = []
        for cell in CELLS:
            here, there = getattr(measured, cell), getattr(predicted, cell)
            cells.append(f"{100 * (there / here - 1):+.1f} %" if here else f"{there - here:+.0f}")
        rows.append([result["machine"], *cells])
    return Table(["predicted against synthesized", *HEADER], rows, load("synth"))


SYNTH: dict[str, Callable[[], Table]] = {
    "synth-u280": partial(whole, U280, "u280"),
    "synth-machines": machines,
    "synth-model": model,
}
