"""Passes of several tokens of full-size models on their simulated boards, against the engine.

    python -m bench.passes [ROW ...] [--work FOLDER]

Every row compiles a shape with random weights and runs passes in each of its modes: a chunk of a
prompt, one token of each of several sequences, verification of a draft (all of the last one
accepted), one token after a draft whose last token was rejected, verification after such a draft,
one token alone, and a chain of tokens that the device decodes by itself. The first pass of
a mode is compared with the engine: every observable of every layer and every token, all counters,
and the logits in memory. Cycles are those of the others, from start to done; the host between
passes is not in them. Of kinds that go on alike there are two others, and cycles are their mean:
where the state lies twice, one reads the first copy and one the second. Of a chain the last two of
six tokens count, which nobody compares. A 2.7B model on a small board takes a quarter of an hour
per pass, so of it only two chunks are run: one that begins the sequence and is compared, and one
whose cycles are taken. Sequences of hybrids have a stated number of positions behind them, whose
keys and values are random. The results file keeps the rows that are not named.
"""

import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import asked
from bench.full import used
from bench.identity import Random, simulated
from bench.stored import keep
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import SimDevice, Twin, chained, open_twin
from lightmamba.engine.synthetic import random_state
from lightmamba.hardware.compiler import build, plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.model.config import PUBLISHED, SHAPES
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

PREFILL, BATCH, VERIFY, REPAIR, AGAIN, DECODE, CHAIN = (
    "prefill", "batch", "verify", "repair", "again", "decode", "chain",
)  # fmt: skip
WARM, CHAINED = 4, 2  # tokens of a chain that are run, and then those that are measured


@dataclass(frozen=True)
class Row:
    """A shape on a target, in some modes."""

    shape: str
    target: str
    modes: tuple[str, ...]
    hardware: str | None = None  # the row whose machine it runs on
    short: bool = False  # two passes only
    context: int = 0  # positions before the first pass, where layers keep something of each


TARGETS = {
    "u280-t4": (PREFILL, VERIFY, REPAIR, AGAIN, DECODE, CHAIN),
    "u280-batch4": (BATCH, PREFILL, DECODE, CHAIN),
    "vck190-paper-t4": (PREFILL, VERIFY, DECODE, CHAIN),
    "kv260-t4": (PREFILL, VERIFY, DECODE, CHAIN),
}
SMALL = ("vck190-paper-t4", "kv260-t4")  # whose machine is made for each shape, in a minute
ROWS = {
    **{f"mamba2-2.7b on {t}": Row("mamba2-2.7b", t, modes) for t, modes in TARGETS.items()},
    **{f"mamba2-2.7b on {t}": Row("mamba2-2.7b", t, (PREFILL,), short=True) for t in SMALL},
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
ROOM = 32  # positions of the passes that are run


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
    what = ROWS[row["name"].removesuffix(f", {row['mode']}")]
    return simulated(
        Random(PUBLISHED[what.shape]),
        Target.load(what.target),
        hardware=_machine(what),
        context=what.context + ROOM if what.context else None,
        run=[row["mode"], what.short, WARM, CHAINED],
    )


def _machine(row: Row) -> ArchConfig | None:
    """Build parameters of the hardware of another row that a row runs on."""
    if row.hardware is None:
        return None
    return plan(SHAPES[ROWS[row.hardware].shape], Formats(), Target.load(row.target))


def measure(name: str, work: Path) -> Iterator[dict[str, Any]]:
    """Compile a row and run its modes, one result each."""
    row, start = ROWS[name], time.perf_counter()
    target, path = Target.load(row.target), work / name.replace(" ", "-")
    tokens = target.machine.tokens
    model = random_model(PUBLISHED[row.shape], Formats(), lazy=True)
    context = row.context + ROOM if row.context else None
    build(model, target, path, hardware=_machine(row), context=context, force=True)
    compiled = time.perf_counter()
    opened = open_twin(path, sequences=tokens if BATCH in row.modes else 1)
    made = time.perf_counter()
    twin, device, artifact = opened.twin, opened.device, Artifact.read(path)
    sequences = range(tokens if BATCH in row.modes else 1)
    begin = Pass(tuple(Slot(n, np.array([3 + n]), fresh=True) for n in sequences))
    if row.context:
        for n in sequences:
            twin.go_on(random_state(opened.model, row.context), n)
    elif not row.short:
        _compared(twin, begin, f"{name}: begin")
    for mode in row.modes:
        first, *others = passes(mode, artifact.arch)
        if row.short:
            first, others = Pass((replace(first.slots[0], fresh=True),)), others[:1]
        seconds, last = None, (first, *others)[-1]
        if mode == CHAIN:
            cycles, counted = chained(device, WARM, CHAINED)
        else:
            before = time.perf_counter()
            once = _compared(twin, first, f"{name}: {mode}")
            seconds = time.perf_counter() - before
            cycles, counted = _mean([_timed(device, twin, work) for work in others] or [once])
        print(f"{name}: {mode}, {last.tokens} tokens in {cycles:,.0f} cycles", flush=True)
        yield {
            "name": f"{name}, {mode}",
            "shape": row.shape,
            "target": row.target,
            "mode": mode,
            "context": row.context,
            "tokens": last.tokens,
            "wanted": last.wanted,
            "clock_mhz": target.clock_mhz,
            "cycles": cycles,
            "tokens_per_second": last.tokens * target.clock_mhz * 1e6 / cycles,
            "stalls": {k: counted[k] for k in CYCLES},
            "ssm_busy": counted["ssm_busy"],
            **used(artifact, target, counted, cycles),
            "compile_seconds": compiled - start,
            "simulator_seconds": made - compiled,  # the simulator, if it was not there
            "seconds_of_compared_pass": seconds,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    device.close()


def _compared(twin: Twin, work: Pass, what: str) -> tuple[int, dict[str, int]]:
    """Cycles and counts of a pass that is equal to the engine's."""
    step = twin.step(work)
    if step.difference is not None:
        raise SystemExit(f"{what}: {step.difference}")
    print(f"{what}, {work.tokens} tokens equal", flush=True)
    return step.cycles, step.counters


def _mean(found: list[tuple[int, dict[str, int]]]) -> tuple[float, dict[str, float]]:
    """Cycles and counts of a pass of those found."""
    each = range(len(found))
    counts = {name: sum(found[n][1][name] for n in each) / len(found) for name in found[0][1]}
    return sum(cycles for cycles, _ in found) / len(found), counts


def _timed(device: SimDevice, twin: Twin, work: Pass) -> tuple[int, dict[str, int]]:
    """Cycles and counts of a pass that nobody compares; the engine follows it."""
    before = device.counters()
    device.simulator.probing(False)
    try:
        device.submit(work)
        cycles = device.wait()
    finally:
        device.simulator.probing(True)
    after = device.counters()
    twin.follow(work)
    return cycles, {name: n - before[name] for name, n in after.items()}


def main() -> None:
    """Run the rows named, or all."""
    with asked(__doc__, list(ROWS)) as (names, folder):
        for name in names:
            for found in measure(name, folder):
                keep("passes", found)


if __name__ == "__main__":
    main()
