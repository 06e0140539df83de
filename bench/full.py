"""Whole tokens of full-size models on their simulated boards, against the engine.

    python -m bench.full [ROW ...] [--work FOLDER]

Rows of hybrids begin behind a stated number of positions, whose keys and values are random. Every
row compiles a shape with random weights, simulates tokens with every observable of every
layer compared, then two chains of greedy tokens without the host in between, one longer than the
other: a token costs the difference, so neither the cold start nor the end counts. Rows that share a
machine share its simulator. The results file keeps the rows that are not named.
"""

import json
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import asked
from bench.identity import Random, simulated
from bench.stored import keep
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.device.sim import chained, open_twin
from lightmamba.engine.synthetic import random_state
from lightmamba.hardware.compiler import build, plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.hardware.machine.ports import ports
from lightmamba.model.config import PUBLISHED
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats


@dataclass(frozen=True)
class Row:
    """A shape on a target; ``hardware`` names the row whose machine it runs on."""

    shape: str
    target: str
    hardware: str | None = None
    compared: int = 2  # tokens; the first begins a sequence and reads no state
    warm: int = 2  # tokens of the shorter chain: until the queues of the state are as full as ever
    chained: int = 2  # more of the longer one
    context: int = 0  # positions before the first token, where layers keep something of each


ROOM = 8  # positions of the tokens that are run
LARGEST = "mamba2-2.7b on u280"
HYBRIDS_ON = {
    "granite-4.0-h-350m": ("u280-hybrid",),
    "granite-4.0-h-1b": ("kv260", "u280-hybrid"),
    "granite-4.0-h-micro": ("u280-hybrid",),
    "nemotron-3-nano-4b": ("kv260", "u280-hybrid"),
}
ROWS = {
    LARGEST: Row("mamba2-2.7b", "u280"),
    **{
        f"mamba2-{size} on u280": Row(f"mamba2-{size}", "u280", LARGEST, warm=warm, chained=4)
        for size, warm in (("1.3b", 4), ("780m", 6), ("370m", 10), ("130m", 40))
    },
    "mamba2-2.7b on vck190": Row("mamba2-2.7b", "vck190", warm=1, chained=1),
    "mamba2-2.7b on kv260": Row("mamba2-2.7b", "kv260", chained=0),
    "mamba2-2.7b on vck190-paper": Row("mamba2-2.7b", "vck190-paper", chained=0),
    **{
        f"{shape} on {target}, {context:,} positions": Row(
            shape, target, warm=1, compared=1, chained=2 * (target != "kv260"), context=context
        )
        for shape, targets in HYBRIDS_ON.items()
        for target in targets
        for context in (1024, 8192)
    },
}


def identity(row: Mapping[str, Any]) -> str:
    """Hash of what a row measured."""
    what = ROWS[row["name"]]
    return simulated(
        Random(PUBLISHED[what.shape]),
        Target.load(what.target),
        hardware=_machine(ROWS[what.hardware]) if what.hardware else None,
        context=what.context + ROOM if what.context else None,
        run=[what.compared, what.warm, what.chained],
    )


def measure(name: str, work: Path) -> dict[str, Any]:
    """Compile and simulate a row."""
    row, start = ROWS[name], time.perf_counter()
    target, path = Target.load(row.target), work / name.replace(" ", "-")
    hardware = _machine(ROWS[row.hardware]) if row.hardware else None
    model = random_model(PUBLISHED[row.shape], Formats(), lazy=True)
    context = row.context + ROOM if row.context else None
    build(model, target, path, hardware=hardware, context=context, force=True)
    compiled = time.perf_counter()
    opened = open_twin(path)
    opened_at = time.perf_counter()
    cycles = []
    if row.context:
        opened.twin.go_on(random_state(opened.model, row.context))
    for n in range(row.compared):
        step = opened.twin.feed(5 + n)
        if step.difference is not None:
            raise SystemExit(f"{name}: {step.difference} (cycle {step.cycle})")
        cycles.append(step.cycles)
        print(f"{name}: token {n}, {step.cycles:,} cycles, equal", flush=True)
    compared = time.perf_counter()
    counted, per_token = step.counters, float(cycles[-1])
    if row.chained:
        per_token, means = chained(opened.device, row.warm, row.chained)
        counted = {k: round(mean) for k, mean in means.items()}
        print(f"{name}: {per_token:,.0f} cycles a token of a chain", flush=True)
    opened.device.simulator.close()
    artifact = Artifact.read(path)
    return {
        "name": name,
        "shape": row.shape,
        "target": row.target,
        "context": row.context,
        "clock_mhz": target.clock_mhz,
        "compared_cycles": cycles,
        "cycles_per_token": per_token,
        "tokens_per_second": target.clock_mhz * 1e6 / per_token,
        "stalls": {k: counted[k] for k in CYCLES},
        "ssm_busy": counted.get("ssm_busy", 0),
        **used(artifact, target, counted, per_token),
        "image_bytes": artifact.image_bytes,
        "compile_seconds": compiled - start,
        "simulator_seconds": opened_at - compiled,
        "seconds_per_compared_token": (compared - opened_at) / row.compared,
        "simulated_cycles_per_second": sum(cycles) / (compared - opened_at),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _machine(row: Row) -> ArchConfig:
    """Build parameters of a row's hardware."""
    return plan(PUBLISHED[row.shape], Formats(), Target.load(row.target))


def used(
    artifact: Artifact, target: Target, counted: Mapping[str, float], cycles: float
) -> dict[str, Any]:
    """Bytes that the busiest channel moved, against what it could."""
    by_port = {
        port.name: (
            counted[f"{port.name}.beats_read"] * port.bits // 8,
            counted[f"{port.name}.beats_written"] * port.bits // 8,
        )
        for port in ports(artifact.arch)
    }
    moved = {name: sum(both) for name, both in target.per_channel(by_port).items()}
    share = {
        c.name: moved[c.name] / c.bytes_per_cycle(target.clock_mhz) / cycles
        for c in target.channels
    }
    busiest = max(target.channels, key=lambda c: share[c.name])
    return {
        "bytes_per_token": sum(moved.values()),
        "busiest_channel": busiest.name,
        "of_attainable": share[busiest.name],
        "of_nominal": share[busiest.name] * busiest.attainable_gb_per_s / busiest.gb_per_s,
        "of_all_nominal": sum(moved.values()) * target.clock_mhz * 1e-3
        / cycles / sum(c.gb_per_s for c in target.channels),
    }  # fmt: skip


def main() -> None:
    """Run the rows named, or all."""
    with asked(__doc__, list(ROWS)) as (names, folder):
        for name in names:
            found = measure(name, folder)
            print(json.dumps(found), flush=True)
            keep("full", found, stay=lambda row: row["name"] in ROWS)


if __name__ == "__main__":
    main()
