"""Cells of machines through yosys, block by block, and the model that `estimate` predicts with.

    python -m bench.synth [MACHINE ...] [--jobs 1]

Synthesizes the machines (those named, or all; the results file keeps the others), then fits the
cells of every group of blocks and writes src/lightmamba/hardware/estimate/resources.json. Blocks
that were synthesized before, of the same text, come from the cache.
"""

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

import lightmamba.hardware.estimate
from bench.common import asked
from bench.identity import synthesized, verilog_hash
from bench.stored import Row, keep, rows
from lightmamba.arch.amount import Amount
from lightmamba.arch.cells import Group
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate.resources import CELLS, FILE, GROUPS, group_of, groups
from lightmamba.hardware.rtl.top import to_verilog
from lightmamba.hardware.synth import synthesize
from lightmamba.hardware.synth.tools import find_tool
from lightmamba.model.config import PUBLISHED
from lightmamba.numerics.model_formats import Formats

# Machines that the fit does not see: with several tokens, and with the widest attention.
CHECKS = {
    f"{target}, {shape}": (target, shape)
    for target, shape in (
        ("u280-t4", "mamba2-2.7b"), ("u280", "granite-4.0-h-350m"), ("u280", "granite-4.0-h-1b"),
        ("u280", "nemotron-3-nano-4b"), ("kv260-t4", "granite-4.0-h-350m"),
    )
}  # fmt: skip
PLAIN = ("mamba2",)  # kinds of layers of most machines
# Small machines that differ in everything that a group is a sum over. All have the smallest SSM
# unit, the block that takes longest; those of the targets have the others.
SMALL = replace(ArchConfig(), state_elements=32, state_port_bits=128)
MANY: dict[str, Any] = {"lanes": 9, "state_port_bits": 512, "aux_port_bits": 256, "aux_fifo": 256}
FIRM: dict[str, Any] = {"multiplier_bits": 8, "act_bits": 8}
WHOLE: dict[str, Any] = {"weight_bits": 8, "multiplier_bits": 8, "act_bits": 8, "head_qmax": 127}
# Channels and queries that meet in a cycle, channels of a head, lanes, bits of their ports.
ATTENTION = (
    (32, 1, 32, 1, 128), (32, 4, 32, 1, 128), (32, 2, 64, 4, 128), (64, 2, 64, 1, 128),
    (64, 2, 32, 1, 128), (128, 2, 32, 8, 512), (256, 3, 128, 32, 512),
)  # fmt: skip
# An earlier target of an ECP5: one lane of 32 weights, 32 state elements, a port of 128 bits.
PLACED = "ecp5, demo"
EARLIER: dict[str, Any] = {
    "port_bits": 128, "state_port_bits": 128, "aux_port_bits": 128, "state_elements": 32,
    "weight_fifo": 64, "state_fifo": 64, "aux_fifo": 256,
}  # fmt: skip


def machines() -> dict[str, ArchConfig]:
    """Machines of the targets, and small ones for the fit."""

    def of(target: str, shape: str, formats: Formats | None = None) -> ArchConfig:
        return plan(PUBLISHED[shape], formats or Formats(), Target.load(target))

    return {
        "u280, mamba2-2.7b": of("u280", "mamba2-2.7b"),
        **{name: of(*each) for name, each in CHECKS.items()},
        "vck190-paper, mamba2-2.7b": of("vck190-paper", "mamba2-2.7b"),
        "tiny, demo": of("tiny", "demo"),
        PLACED: replace(of("ecpix5", "demo"), **EARLIER),
        "MLP": replace(SMALL, kinds=("mamba2", "mlp")),
        **{
            f"experts, {lanes} lanes": replace(
                SMALL,
                kinds=("experts", "mamba2"),
                lanes=lanes,
                added_channels=512 * lanes,
                wide_weight_bits=8,
                wide_act_bits=8,
            )
            for lanes in (2, 5)
        },
        # The first machine with units for Granite-4.0-H-Tiny's experts besides.
        "u280, mamba2-2.7b and experts": replace(
            of("u280", "mamba2-2.7b"),
            kinds=("experts", "mamba2"),
            added_channels=4096,
            wide_weight_bits=8,
            wide_act_bits=8,
        ),
        **{
            f"attention, {channels} x {rows}, heads of {head_dim}, {lanes} lanes": attention(
                channels, rows, head_dim, lanes, bits
            )
            for channels, rows, head_dim, lanes, bits in ATTENTION
        },
        "two lanes of 64": replace(SMALL, lanes=2, port_bits=256, aux_port_bits=64),
        "nine lanes of 32": replace(SMALL, **MANY),
        "W4A4 on 8 bits": replace(SMALL, multiplier_bits=8, port_bits=512, lanes=2),
        "W4A8": replace(SMALL, **FIRM, lanes=3),
        "W4A8, wide": replace(SMALL, **FIRM, lanes=1, port_bits=256),
        "W8A8": replace(SMALL, **WHOLE, lanes=2),
        "W8A8, wide": replace(
            SMALL, **WHOLE, lanes=1, port_bits=512, aux_port_bits=256, aux_fifo=128
        ),
    }


def attention(channels: int, rows: int, head_dim: int, lanes: int, bits: int) -> ArchConfig:
    """Machine of a hybrid with these sizes of attention."""
    return replace(
        SMALL, kinds=("attention", "mamba2"), lanes=lanes, port_bits=bits,
        attention_channels=channels, attention_rows=rows, dsp48e2=True, kv_heads=4,
        per_group=rows, head_dim=head_dim,
    )  # fmt: skip


def identity(row: Row) -> str:
    """Hash of what a row measured."""
    return synthesized(verilog_hash(machines()[row["machine"]]), find_tool("yosys").version)


def measure(arch: ArchConfig, jobs: int) -> dict[str, Any]:
    """Synthesize one machine."""
    begin = time.perf_counter()
    found = synthesize(to_verilog(arch), "lightmamba", jobs=jobs, progress=_say)
    return {**found.as_dict(), "seconds": time.perf_counter() - begin}


def _say(done: int, total: int) -> None:
    print(f"  {done} of {total} blocks", flush=True)


def grouped(result: dict[str, Any]) -> dict[str, Amount]:
    """Cells of a measured machine by group."""
    sums: dict[str, Amount] = defaultdict(Amount)
    for name, block in result["blocks"].items():
        amount = Amount(
            block["lut"], block["ff"], block["dsp"], block["bram"], block["uram"]
        ).times(block["count"])
        sums[group_of(name)] += amount
    return sums


def fit(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Factors of every group and kind: least squares of the relative error, none negative.

    Of machines of one token: `estimate` makes the others of them, and is checked by :data:`CHECKS`.
    Groups of machines with Mamba2 layers alone are fitted to those, others to machines with them.

    Raises
    ------
    ValueError
        If the machines do not determine the factors of a group.
    """
    out: dict[str, dict[str, dict[str, list[float]]]] = {}
    every = machines()
    known = [(every[name], grouped(r)) for name, r in results.items() if name not in CHECKS]
    for group in GROUPS:
        kinds = defaultdict(list)
        plain = group in groups(PLAIN)
        for arch, sums in known:
            if not (arch.kinds == PLAIN if plain else group in groups(arch.kinds)):
                continue
            kinds[group.kind(arch)].append((arch, sums.get(group.name, Amount())))
        out[group.name] = {
            kind: _factors(group, kind, seen) for kind, seen in sorted(kinds.items())
        }
    return out


def _factors(
    group: Group, kind: str, seen: Sequence[tuple[ArchConfig, Amount]]
) -> dict[str, list[float]]:
    sizes = np.array([group.sizes(arch) for arch, _ in seen])
    rank = int(np.linalg.matrix_rank(sizes / np.abs(sizes).max(axis=0).clip(1)))
    if rank < sizes.shape[1]:
        raise ValueError(
            f"{group.name} of {kind} bits is a sum over {sizes.shape[1]} sizes, but the "
            f"{len(seen)} machines that were synthesized tell {rank} apart; add one to "
            f"bench.synth.machines that differs in another size"
        )
    rests = np.array([astuple(a + group.counted(arch).times(-1)) for arch, a in seen])
    return {
        cell: [round(f, 4) for f in _positive(sizes, rests[:, n])] for n, cell in enumerate(CELLS)
    }


def _positive(sizes: Any, wanted: Any) -> list[float]:
    """Factors that are not negative: the most negative is taken out until there is none."""
    weights = 1 / np.maximum(1.0, np.abs(wanted))
    kept = list(range(sizes.shape[1]))
    factors = np.zeros(sizes.shape[1])
    while kept:
        found = np.linalg.lstsq(sizes[:, kept] * weights[:, None], wanted * weights, rcond=None)[0]
        if found.min() >= -1e-9:
            factors[kept] = np.maximum(found, 0.0)
            break
        kept.pop(int(found.argmin()))
    values: list[float] = factors.tolist()
    return values


def main() -> None:
    """Synthesize the machines named, or all, and fit the model to them."""
    every = machines()
    args = asked(__doc__, every, jobs={"type": int, "default": 1, "help": "blocks at a time (1)"})
    results = {row["machine"]: row for row in rows("synth") if row["machine"] in every}
    for name in args.row:
        print(name, flush=True)
        results[name] = {"machine": name, **measure(every[name], args.jobs)}
        keep("synth", results[name], stay=lambda row: row["machine"] in every)
    # Behind the last row, which would otherwise be of changed sources.
    model = Path(lightmamba.hardware.estimate.__file__).with_name(FILE)
    made = "python -m bench.synth; factors of the sizes in resources.py"
    model.write_text(json.dumps({"made_by": made, "groups": fit(results)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
