"""Whole tokens and passes of full-size models on their simulated boards, against the engine.

    python -m bench.full [ROW ...]

A row compiles a shape with random weights; rows that share a machine share its simulator. Rows of
hybrids begin after a stated number of positions, whose keys and values are random. A row of
``full`` simulates tokens with every observable of every layer compared, then two chains of greedy
tokens without the host in between, one longer than the other: a token costs the difference, so
neither the cold start nor the end counts.

A row of ``passes`` runs passes of several tokens in each of its modes: a chunk of a prompt, one
token of each of several sequences, verification of a draft (all of the last one accepted), one
token after a draft whose last token was rejected, verification after such a draft, one token alone,
and a chain. The first pass of a mode is compared: every observable of every layer and token, all
counters, and the logits in memory. Cycles are the mean of the others, from start to done: of kinds
that go on alike there are two, for where the state lies twice, one reads the first copy and one the
second. A 2.7B model on a small board takes a quarter of an hour per pass, so it runs two chunks:
one that begins the sequence and is compared, and one whose cycles are taken.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import asked
from bench.identity import Random, simulated
from bench.stored import keep
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import GoldenModel, GoldenStep, Opened, SimDevice, chained, open_golden
from lightmamba.engine.state import random_state
from lightmamba.hardware.compiler import build, plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.hardware.machine.ports import ports
from lightmamba.model.config import PUBLISHED, ModelConfig
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

PREFILL, BATCH, VERIFY, REPAIR, AGAIN, DECODE, CHAIN = (
    "prefill", "batch", "verify", "repair", "again", "decode", "chain",
)  # fmt: skip
WARM, CHAINED = 4, 2  # tokens of the mode `chain` that are run, and then those that are measured
Run = tuple[int, float, Mapping[str, float], dict[str, Any]]  # tokens, cycles, counts, values


@dataclass(frozen=True)
class Row:
    """A shape on a target: tokens, or passes in some modes."""

    shape: str
    target: str
    modes: tuple[str, ...] = ()
    hardware: str | None = None  # the row whose machine it runs on
    context: int = 0  # positions before the first token, where layers keep something of each
    compared: int = 2  # tokens; the first begins a sequence and reads no state
    warm: int = 2  # tokens of the shorter chain: until the queues of the state are as full as ever
    chained: int = 2  # more of the longer one
    short: bool = False  # two passes only
    layers: int = 0  # that are run of the shape, if not all

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        whole = PUBLISHED[self.shape]
        return whole.first(self.layers) if self.layers else whole

    @property
    def machine(self) -> ArchConfig | None:
        """Build parameters of the other row's hardware that it runs on."""
        if self.hardware is None:
            return None
        other = ROWS[self.hardware]
        return plan(other.config, Formats(), Target.load(other.target))

    @property
    def reserved(self) -> int | None:
        """Positions that memory has: those before, and those that are run."""
        return self.context + (32 if self.modes else 8) if self.context else None


LARGEST = "mamba2-2.7b on u280"
HYBRIDS_ON = {
    "granite-4.0-h-350m": ("kv260", "u280"),
    "granite-4.0-h-1b": ("kv260", "u280"),
    "granite-4.0-h-micro": ("u280",),
    "nemotron-3-nano-4b": ("kv260", "u280"),
    "granite-4.0-h-tiny": ("u280",),
}
TARGETS = {
    "u280-t4": (PREFILL, VERIFY, REPAIR, AGAIN, DECODE, CHAIN),
    "u280-batch4": (BATCH, PREFILL, DECODE, CHAIN),
    "vck190-paper-t4": (PREFILL, VERIFY, DECODE, CHAIN),
    "kv260-t4": (PREFILL, VERIFY, DECODE, CHAIN),
}
SMALL = ("vck190-paper-t4", "kv260-t4")  # whose machine is made for each shape, in a minute
ROWS = {
    LARGEST: Row("mamba2-2.7b", "u280"),
    **{
        f"mamba2-{n} on u280": Row(f"mamba2-{n}", "u280", hardware=LARGEST, warm=warm, chained=4)
        for n, warm in (("1.3b", 4), ("780m", 6), ("370m", 10), ("130m", 40))
    },
    "mamba2-2.7b on vck190": Row("mamba2-2.7b", "vck190", warm=1, chained=1),
    "mamba2-2.7b on kv260": Row("mamba2-2.7b", "kv260", chained=0),
    "mamba2-2.7b on vck190-paper": Row("mamba2-2.7b", "vck190-paper", chained=0),
    **{
        f"{shape} on {t}, {context:,} positions": Row(
            shape, t, warm=1, compared=1, chained=2 * (t != "kv260"), context=context
        )
        for shape, targets in HYBRIDS_ON.items()
        for t in targets
        for context in (1024, 8192)
    },
    "nemotron-3-nano-30b, 7 layers on u55c-31, 1,024 positions": Row(
        "nemotron-3-nano-30b", "u55c-31", warm=1, compared=1, chained=2, context=1024, layers=7
    ),
    **{
        f"mamba2-2.7b on {t}": Row(
            "mamba2-2.7b", t, (PREFILL,) if t in SMALL else modes, short=t in SMALL
        )
        for t, modes in TARGETS.items()
    },
    **{
        f"mamba2-130m on {t}": Row(
            "mamba2-130m", t, modes, None if t in SMALL else f"mamba2-2.7b on {t}"
        )
        for t, modes in TARGETS.items()
    },
    **{
        f"{shape} on {t}, {context:,} positions": Row(shape, t, (mode,), context=context)
        for shape in ("granite-4.0-h-1b", "nemotron-3-nano-4b")
        for t, mode, context in (("u280-t4", PREFILL, 4096), ("u280-batch4", BATCH, 1024))
    },
}


def passes(mode: str, arch: ArchConfig) -> tuple[Pass, ...]:
    """Passes of a mode, one after the other; sequences have begun, before ``repair`` by ``verify``.

    Where the state lies twice, updates are done again after rejected tokens only: in ``repair`` and
    ``again``.
    """
    tokens, drafted = arch.tokens, arch.undecided
    if mode == BATCH:
        return (Pass(tuple(Slot(n, _ids(1, 7 + n)) for n in range(tokens))),) * 3
    if mode == PREFILL:
        return (Pass((Slot(0, _ids(tokens), wanted=0),)),) * 3
    if mode in (DECODE, CHAIN):
        return (Pass((Slot(0, _ids(1)),)),) * 3
    if mode == REPAIR:
        return (Pass((Slot(0, _ids(1), replay=drafted - 1),)),)
    first = Slot(0, _ids(1 + drafted), wanted=1 + drafted, commit=1)
    if mode == AGAIN:
        return Pass((first,)), Pass((replace(first, replay=drafted - 1),))
    return Pass((first,)), *(Pass((replace(first, replay=drafted),)),) * 2


def _ids(count: int, first: int = 5) -> NDArray[np.int64]:
    return np.arange(first, first + count)


def identity(row: Mapping[str, Any]) -> str:
    """Hash of what a row measured."""
    mode = row.get("mode")
    what = ROWS[row["name"].removesuffix(f", {mode}")]
    run = [mode, what.short, WARM, CHAINED] if mode else [what.compared, what.warm, what.chained]
    return simulated(
        Random(what.config),
        Target.load(what.target),
        hardware=what.machine,
        context=what.reserved,
        run=run,
    )


def measure(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Compile a row and simulate it: one result of its tokens, or one for each mode."""
    row = ROWS[name]
    target, model = (
        Target.load(row.target),
        random_model(row.config, Formats(), lazy=True),
    )
    build(model, target, path, hardware=row.machine, context=row.reserved)
    artifact = Artifact.read(path)
    sequences = artifact.arch.tokens if BATCH in row.modes else 1
    opened = open_golden(path, sequences=sequences)
    if row.context:
        for n in range(sequences):
            opened.golden.go_on(random_state(opened.model, row.context), n)
    runs = _modes(name, opened, artifact, sequences) if row.modes else _tokens(name, opened)
    for tokens, cycles, counted, values in runs:
        yield {
            "name": name,
            "shape": row.shape + (f", {row.layers} layers" if row.layers else ""),
            "target": row.target,
            "context": row.context,
            "clock_mhz": target.clock_mhz,
            "tokens_per_second": tokens * target.clock_mhz * 1e6 / cycles,
            "stalls": {k: counted[k] for k in CYCLES},
            "ssm_busy": counted.get("ssm_busy", 0),
            **used(artifact, target, counted, cycles),
            **values,
        }
    opened.device.close()


def _tokens(name: str, opened: Opened) -> Iterator[Run]:
    """Tokens that are compared, then one of a chain."""
    row, compared = ROWS[name], list[int]()
    for n in range(row.compared):
        count, counted = _equal(opened.golden.feed(5 + n), f"{name}: token {n}")
        compared.append(count)
    cycles = float(compared[-1])
    if row.chained:
        cycles, means = chained(opened.device, row.warm, row.chained)
        counted = {k: round(mean) for k, mean in means.items()}
    yield 1, cycles, counted, {"compared_cycles": compared, "cycles_per_token": cycles}


def _modes(name: str, opened: Opened, artifact: Artifact, sequences: int) -> Iterator[Run]:
    """Passes of each mode."""
    row, golden, device = ROWS[name], opened.golden, opened.device
    if not row.context and not row.short:
        begin = (Slot(n, np.array([3 + n]), fresh=True) for n in range(sequences))
        _equal(golden.step(Pass(tuple(begin))), f"{name}: begin")
    for mode in row.modes:
        first, *others = passes(mode, artifact.arch)
        if row.short:
            first, others = Pass((replace(first.slots[0], fresh=True),)), others[:1]
        last = (first, *others)[-1]
        if mode == CHAIN:
            cycles, counted = chained(device, WARM, CHAINED)
        else:
            once = _equal(golden.step(first), f"{name}: {mode}")
            cycles, counted = _mean([_timed(device, golden, work) for work in others] or [once])
        values = {"name": f"{name}, {mode}", "mode": mode, "tokens": last.tokens, "cycles": cycles}
        yield last.tokens, cycles, counted, values


def _equal(step: GoldenStep, what: str) -> tuple[int, dict[str, int]]:
    """Cycles and counts of a pass that is equal to the engine's."""
    if step.difference is not None:
        raise SystemExit(f"{what}: {step.difference} (cycle {step.cycle})")
    print(f"{what}, {step.tokens} tokens equal in {step.cycles:,} cycles", flush=True)
    return step.cycles, step.counters


def _mean(found: list[tuple[int, dict[str, int]]]) -> tuple[float, dict[str, float]]:
    """Cycles and counts of a pass of those found."""
    each = range(len(found))
    counts = {name: sum(found[n][1][name] for n in each) / len(found) for name in found[0][1]}
    return sum(cycles for cycles, _ in found) / len(found), counts


def _timed(device: SimDevice, golden: GoldenModel, work: Pass) -> tuple[int, dict[str, int]]:
    """Cycles and counts of a pass that nobody compares; the engine follows it."""
    before = device.counters()
    device.simulator.probing(False)
    try:
        device.submit(work)
        cycles = device.wait()
    finally:
        device.simulator.probing(True)
    after = device.counters()
    golden.follow(work)
    return cycles, {name: n - before[name] for name, n in after.items()}


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
    }


def main() -> None:
    """Run the rows named, or all."""
    for name in asked(__doc__, ROWS).row:
        with tempfile.TemporaryDirectory() as folder:
            for found in measure(name, Path(folder) / "build"):
                keep("passes" if "mode" in found else "full", found)


if __name__ == "__main__":
    main()
