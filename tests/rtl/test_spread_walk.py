"""Walks of what is spread over the lanes: rows that are asked for, places of new positions."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD
from lightmamba.arch.spread import lanes_of, rows, spread
from lightmamba.rtl.spread_walk import SpreadReads, SpreadWrites

from ..support.streams import Run, drive

LAYERS, RUNS, STRIDE = 2, 3, 0x4_0000
BASES = [0x100_0000 * n for n in range(8)]
SHAPES = [(1, 64, 8), (2, 64, 8), (4, 128, 24), (5, 256, 64), (32, 512, 32)]  # lanes, port, V


def machine(lanes: int, port: int, tokens: int = 1) -> ArchConfig:
    return ArchConfig(lanes=lanes, port_bits=port, tokens=tokens)


def hold(words: int, before: list[int], more: list[int] | None = None) -> dict[str, int]:
    """Inputs of a pass whose slots have some positions."""
    found = {"layers": LAYERS, "runs": RUNS, "words": words, "stride": STRIDE}
    for n, count in enumerate(before):
        found |= {f"base[{n}]": BASES[n], f"used[{n}]": 1, f"positions[{n}]": count}
        found |= {f"more[{n}]": more[n]} if more else {}
    return found


def starts(dut: Any, *cycles: int, name: str = "start") -> Any:
    """Pulses in some cycles."""

    async def bench(ctx: Any) -> None:
        for cycle in range(max(cycles) + 2):
            ctx.set(dut.run, int(cycle > 0))
            ctx.set(getattr(dut, name), int(cycle in cycles))
            await ctx.tick()

    return bench


def asked(config: ArchConfig, words: int, before: list[int]) -> list[dict[str, int]]:
    """Commands of a pass."""
    return [
        {"address": BASES[slot] + (layer * RUNS + run) * STRIDE, "count": count, "zero": 0}
        for layer in range(LAYERS) for run in range(RUNS) for slot, at in enumerate(before)
        if (count := rows(config, 1 + words, at))
    ]  # fmt: skip


@pytest.mark.parametrize(("lanes", "port", "words"), SHAPES)
@pytest.mark.parametrize("before", [[0], [1], [77], [4096], [5, 0, 300, 31]])
def test_asks_for_the_rows_that_there_are(lanes, port, words, before):
    config = machine(lanes, port, 4 if len(before) > 1 else 1)
    dut, wanted = SpreadReads(config), asked(config, words, before)
    got = drive(dut, {}, {"o": len(wanted)}, hold=hold(words, before), stalls=0.2, settle=60,
                beside=[starts(dut, 5)])  # fmt: skip
    assert got.out["o"] == wanted


def test_a_layer_waits_until_the_pass_before_has_written_it():
    config = machine(4, 128)
    dut, answers = SpreadReads(config), (150, 170)
    got = drive(dut, {}, {"o": 4 * RUNS}, hold=hold(8, [40]), settle=60,
                beside=[starts(dut, 5, 100), starts(dut, *answers, name="written")])  # fmt: skip
    assert got.out["o"] == asked(config, 8, [40]) * 2
    first, *others = (got.cycles["o"][n * RUNS] for n in (0, 2, 3))
    assert first < 40
    assert all(answer < cycle < answer + 4 for answer, cycle in zip(answers, others, strict=True))


def test_latency_and_throughput_of_reads():
    config = machine(4, 128)
    dut = SpreadReads(config)
    got = drive(dut, {}, {"o": 6}, hold=hold(1, [40]), beside=[starts(dut, 5)])
    assert got.cycles["o"][0] - 5 == dut.latency
    assert set(np.diff(got.cycles["o"])) == {dut.interval}


@pytest.mark.parametrize("stop", range(6, 40, 3))
def test_a_run_that_was_stopped_is_forgotten(stop):
    """What is offered stays until it is taken; the next pass begins with its own first layer."""
    config, taken = machine(4, 128), list[tuple[int, Any]]()
    dut, rng = SpreadReads(config), np.random.default_rng(stop)

    async def bench(ctx: Any) -> None:
        for name, value in hold(8, [40]).items():
            ctx.set(port(dut, name), value)
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

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    late = [(v.address, v.count) for cycle, v in taken if cycle > 80]
    assert late == [(c["address"], c["count"]) for c in asked(config, 8, [40])]
    assert not [cycle for cycle, _ in taken if stop + 15 < cycle <= 80]


def port(dut: Any, name: str) -> Any:
    """Member of a component, ``name[2]`` of an array."""
    what, _, n = name.partition("[")
    return getattr(dut, what)[int(n[:-1])] if n else getattr(dut, what)


@pytest.mark.parametrize(("lanes", "port", "words"), SHAPES)
@pytest.mark.parametrize(("before", "more"), [
    ([0], [1]), ([7], [1]), ([255], [1]), ([31, 0, 100], [4, 1, 3]), ([6], [8]),
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
    dut, count = SpreadWrites(config), beats(config, words, before, more)
    got = drive(
        dut, {"i": given}, {"o": count}, hold=hold(words, before, more), stalls=0.2, seed=words,
        settle=60, beside=[starts(dut, 3)], limit=40_000,
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
                    where = (lane, BASES[slot] + run * STRIDE + int(at))
                    assert found.pop(where) == bytes_[at]
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
    assert len(lanes_of(config, "kv")) == config.row_lanes
    return found


def test_latency_and_throughput_of_writes():
    config = machine(4, 128)
    dut = SpreadWrites(config)
    got = drive(dut, {"i": [0] * (RUNS * 9 * LAYERS)}, {"o": beats(config, 8, [40], [1])},
                hold=hold(8, [40], [1]), beside=[starts(dut, 3)])  # fmt: skip
    assert got.cycles["o"][0] - got.cycles["i"][0] == dut.latency
    assert got.cycles["i"][RUNS * 9 - 1] - got.cycles["i"][0] == (RUNS * 9 - 1) * dut.interval
