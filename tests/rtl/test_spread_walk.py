"""Walks of what is spread over the lanes: rows that are asked for, places of new positions."""

import functools
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD
from lightmamba.arch.spread import rows, spread
from lightmamba.hardware.rtl.memory.spread_reads import SpreadReads
from lightmamba.hardware.rtl.memory.spread_writes import SpreadWrites

from ..support.streams import Bench, Run, drive

LAYERS, RUNS = 2, 3
# Lanes, port, V; those of the last one end and begin within a beat.
SHAPES = [(1, 64, 8), (2, 64, 8), (4, 128, 24), (5, 256, 64), (32, 512, 32), (2, 256, 5)]
READY = 150  # cycles in which the table of segments is written


def machine(lanes: int, port: int, tokens: int = 1) -> ArchConfig:
    return ArchConfig(lanes=lanes, port_bits=port, tokens=tokens, segment=512, context=4608)


@functools.cache
def bench(unit: Any, config: ArchConfig) -> Bench:
    """A unit, compiled once."""
    return Bench(unit(config))


def begins(slot: int, segment: int) -> int:
    """Where a segment lies: in no order, and none at 0."""
    return 1 + (slot + segment * 5) % 97 << 20


def stride(config: ArchConfig, words: int) -> int:
    """Bytes of a run in a segment, in each channel."""
    return rows(config, 1 + words, config.segment) * config.port_bits // 8


def hold(
    config: ArchConfig, words: int, before: list[int], more: list[int] | None = None
) -> dict[str, int]:
    """Inputs of a pass whose slots have some positions."""
    found = {"layers": LAYERS, "runs": RUNS, "words": words, "stride": stride(config, words)}
    for n, count in enumerate(before):
        found |= {f"used[{n}]": 1, f"positions[{n}]": count}
        found |= {f"more[{n}]": more[n]} if more else {}
    return found


async def write_table(ctx: Any, dut: Any) -> None:
    """Write where the segments of all slots are."""
    config, per_slot = dut.config, 1 << (dut.config.segments - 1).bit_length()
    for n in range(READY):
        slot, segment = divmod(n, per_slot)
        ctx.set(dut.table_write, int(slot < config.tokens))
        ctx.set(dut.table_index, n)
        ctx.set(dut.table_data, begins(slot, segment) >> 12)
        await ctx.tick()
    ctx.set(dut.table_write, 0)


def starts(dut: Any, *cycles: int, name: str = "start") -> Any:
    """Pulses in some cycles behind ``READY``."""

    async def bench(ctx: Any) -> None:
        await write_table(ctx, dut)
        for cycle in range(max(cycles) + 2):
            ctx.set(dut.run, 1)
            ctx.set(getattr(dut, name), int(cycle in cycles))
            await ctx.tick()

    return bench


def asked(config: ArchConfig, words: int, before: list[int]) -> list[dict[str, int]]:
    """Commands of a pass."""
    size = config.segment
    return [
        {
            "address": begins(slot, at // size) + (layer * RUNS + run) * stride(config, words),
            "count": rows(config, 1 + words, min(size, end - at)), "zero": 0,
        }
        for layer in range(LAYERS) for run in range(RUNS) for slot, end in enumerate(before)
        for at in range(0, end, size)
    ]  # fmt: skip


@pytest.mark.parametrize(("lanes", "port", "words"), SHAPES)
@pytest.mark.parametrize("before", [[0], [1], [77], [512], [513], [4500], [5, 0, 700, 31]], ids=str)
def test_asks_for_the_rows_that_there_are(lanes, port, words, before):
    config = machine(lanes, port, 4 if len(before) > 1 else 1)
    unit, wanted = bench(SpreadReads, config), asked(config, words, before)
    got = unit.drive({}, {"o": len(wanted)}, hold=hold(config, words, before), stalls=0.2,
                     settle=60, beside=[starts(unit.dut, 5)])  # fmt: skip
    assert got.out["o"] == wanted


def test_a_layer_waits_until_the_pass_before_has_written_it():
    config = machine(4, 128)
    dut, answers = SpreadReads(config), (150, 170)
    got = drive(dut, {}, {"o": 4 * RUNS}, hold=hold(config, 8, [40]), settle=60,
                beside=[starts(dut, 5, 100), starts(dut, *answers, name="written")])  # fmt: skip
    assert got.out["o"] == asked(config, 8, [40]) * 2
    first, *others = (got.cycles["o"][n * RUNS] - READY for n in (0, 2, 3))
    assert first < 40
    assert all(answer < cycle < answer + 4 for answer, cycle in zip(answers, others, strict=True))


def test_latency_and_throughput_of_reads():
    config = machine(4, 128)
    dut = SpreadReads(config)
    got = drive(dut, {}, {"o": 6}, hold=hold(config, 1, [40]), beside=[starts(dut, 5)])
    assert got.cycles["o"][0] - 5 - READY == dut.latency
    assert set(np.diff(got.cycles["o"])) == {dut.interval}


@pytest.mark.parametrize("stop", range(6, 40, 3))
def test_a_run_that_was_stopped_is_forgotten(stop):
    """What is offered stays until it is taken; the next pass begins with its own first layer."""
    config, taken = machine(4, 128), list[tuple[int, Any]]()
    unit, rng = bench(SpreadReads, config), np.random.default_rng(stop)
    dut = unit.dut

    async def process(ctx: Any) -> None:
        for name, value in hold(config, 8, [40]).items():
            ctx.set(unit.port(name), value)
        await write_table(ctx, dut)
        offered = None
        for cycle in range(200):
            ctx.set(dut.run, int(0 < cycle < stop or cycle >= 60))
            ctx.set(dut.start, int(cycle in (5, 80)))
            ctx.set(dut.o.ready, int(rng.random() < 0.3))
            _, _, valid, ready, value = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            assert offered is None or (valid and value == offered)
            offered = value if valid and not ready else None
            if valid and ready:
                taken.append((cycle, value))

    unit.drive({}, {}, settle=READY + 200, beside=[process])
    late = [(v.address, v.count) for cycle, v in taken if cycle > 80]
    assert late == [(c["address"], c["count"]) for c in asked(config, 8, [40])]
    assert not [cycle for cycle, _ in taken if stop + 15 < cycle <= 80]


@pytest.mark.parametrize(("lanes", "port", "words"), SHAPES)
@pytest.mark.parametrize(("before", "more"), [
    ([0], [1]), ([7], [1]), ([511], [1]), ([512], [1]), ([510, 0, 100], [4, 1, 3]), ([6], [8]),
], ids=str)  # fmt: skip
def test_memory_holds_what_was_there_and_what_is_new(lanes, port, words, before, more):
    """All positions of all runs are where the layout has them, and nothing else has changed."""
    config = machine(lanes, port, 8 if sum(more) > 1 else 1)
    rng, most = np.random.default_rng(words), max(b + m for b, m in zip(before, more, strict=True))
    whole = rng.integers(0, 1 << 62, (LAYERS, len(before), RUNS, most, 1 + words), np.uint64)
    given = [
        int(word) for layer in range(LAYERS) for slot, at in enumerate(before)
        for position in range(at, at + more[slot]) for run in range(RUNS)
        for word in whole[layer, slot, run, position]
    ]  # fmt: skip
    unit, count = bench(SpreadWrites, config), beats(config, words, before, more)
    got = unit.drive(
        {"i": given}, {"o": count}, hold=hold(config, words, before, more), stalls=0.2,
        seed=words, settle=60, beside=[starts(unit.dut, 3)], limit=40_000,
    )  # fmt: skip
    found = replayed(config, got)
    for slot, (old, new) in enumerate(zip(before, more, strict=True)):
        values = whole[:, slot, :, : old + new].copy()
        values[:, :, :old] = 0
        parts = values.reshape(LAYERS * RUNS, old + new, -1).view(np.uint8)
        images = spread(config, "kv", parts[..., :WORD], parts[..., WORD:])
        for lane, image in enumerate(images.values()):
            for run, bytes_ in enumerate(image.reshape(LAYERS * RUNS, -1)):
                for at in np.flatnonzero(bytes_):
                    segment, inside = divmod(int(at), stride(config, words))
                    address = begins(slot, segment) + run * stride(config, words) + inside
                    assert found.pop((lane, address)) == bytes_[at]
    assert not any(found.values())  # zeros among the values
    lasts = [n for n, beat in enumerate(got.out["o"]) if beat["last"]]
    assert len(lasts) == LAYERS
    assert lasts[-1] == len(got.out["o"]) - 1


def beats(config: ArchConfig, words: int, before: list[int], more: list[int]) -> int:
    """Beats that new positions touch: one for the first word, some for the others."""
    per_row, per_beat, found = config.row_bytes // WORD, config.port_bits // 8 // WORD, 0
    for old, new in zip(before, more, strict=True):
        for at in range(old, old + new):
            first = at % per_row * words
            found += 2 + (first + words - 1) // per_beat - first // per_beat
    return LAYERS * RUNS * found


def replayed(config: ArchConfig, got: Run) -> dict[tuple[int, int], int]:
    """Bytes by lane and address, each written once."""
    found: dict[tuple[int, int], int] = {}
    for beat in got.out["o"]:
        for n in range(config.port_bits // 8):
            if beat["strobe"] >> n & 1:
                where = (beat["channel"], beat["address"] + n)
                assert where not in found
                found[where] = beat["value"] >> 8 * n & 255
    return found


def test_latency_and_throughput_of_writes():
    config = machine(4, 128)
    dut = SpreadWrites(config)
    got = drive(dut, {"i": [0] * (RUNS * 9 * LAYERS)}, {"o": beats(config, 8, [40], [1])},
                hold=hold(config, 8, [40], [1]), beside=[starts(dut, 3)])  # fmt: skip
    assert got.cycles["o"][0] - got.cycles["i"][0] == dut.latency
    assert got.cycles["i"][RUNS * 9 - 1] - got.cycles["i"][0] == (RUNS * 9 - 1) * dut.interval
