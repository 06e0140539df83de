"""Rows of memory over several channels: order, room, and single beats with strobes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory.rows import RowReader, RowWriter

from ..support.axi import Memory, refuses, wait_for
from ..support.streams import Run, drive

LANES, BITS = 4, 64
BEAT = BITS // 8
BASES = [0xAB_0000_0000 + 0x10_0000 * n for n in range(LANES)]
SIZE = 0x3000
CONTENT = [np.random.default_rng(n).bytes(SIZE) for n in range(LANES)]
HOLD = {f"base[{n}]": base for n, base in enumerate(BASES)}


def memories(seed: int = 0, **options: Any) -> list[Memory]:
    """A memory for each channel, each with its own pauses."""
    pairs = zip(CONTENT, BASES, strict=True)
    return [
        Memory(each, base=at, seed=9 * seed + n, **options) for n, (each, at) in enumerate(pairs)
    ]


def simulate(dut: Any, bench: Any, *processes: Any) -> None:
    """Run a bench, next to processes that never end."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for process in processes:
        simulator.add_process(process)
    simulator.run()


def command(address: int, count: int) -> dict[str, int]:
    return {"address": address, "count": count, "zero": 0}


def rows(commands: Sequence[dict[str, int]]) -> list[int]:
    """Rows of some commands, the first channel's beat lowest."""
    ats = [c["address"] + n * BEAT for c in commands for n in range(c["count"])]
    return [
        int.from_bytes(b"".join(each[at : at + BEAT] for each in CONTENT), "little") for at in ats
    ]


def reads(
    stores: list[Memory], commands: list[dict[str, int]], depth: int = 32, **options: Any
) -> Run:
    """All rows of some commands."""
    dut = RowReader(LANES, BITS, depth, 8)
    beside = [store.reads(axi) for store, axi in zip(stores, dut.axi, strict=True)]
    wanted = {"o": sum(c["count"] for c in commands)}
    return drive(dut, {"command": commands}, wanted, hold=HOLD, beside=beside, **options)


@pytest.mark.parametrize("seed", range(4))
def test_gives_what_memory_holds(seed):
    """Channels that answer in their own time, borders of pages, commands of nothing."""
    rng = np.random.default_rng(seed)
    commands = [command(0x1000 - 3 * BEAT, 9), command(0, 0)]
    for _ in range(5):
        commands.append(command(BEAT * int(rng.integers(0x500)), int(rng.integers(40))))
    stores = memories(seed, stalls=0.3, latency=(1, 30))
    got = reads(stores, commands, stalls=0.2, seed=seed, settle=60, limit=8000)
    assert got.out["o"] == rows(commands)
    asked = {tuple((b.address - store.base, b.beats) for b in store.asked) for store in stores}
    assert len(asked) == 1


@pytest.mark.parametrize(("depth", "asked"), [(64, 64), (40, 40), (39, 32), (8, 8)])
def test_asks_for_no_more_than_it_has_room_for(depth, asked):
    stores, dut = memories(), RowReader(LANES, BITS, depth, 8)
    beside = [store.reads(axi) for store, axi in zip(stores, dut.axi, strict=True)]
    drive(dut, {"command": [command(0, 200)]}, {}, hold=HOLD, beside=beside, settle=300)
    assert [sum(b.beats for b in store.asked) for store in stores] == [asked] * LANES


def test_latency_and_throughput():
    stores = memories(latency=(20, 20))
    got = reads(stores, [command(0, 400)], depth=64)
    assert stores[0].asked[0].cycle - got.cycles["command"][0] == RowReader.latency
    assert got.cycles["o"][0] - stores[0].sent[0] == RowReader.data_latency
    assert got.cycles["o"] == list(range(got.cycles["o"][0], got.cycles["o"][0] + 400))


def test_flush_drops_everything():
    """Flushed at every cycle of a job; after it is drained, the next job is as new."""
    dut = RowReader(LANES, BITS, 32, 8)
    stores = memories(stalls=0.3, latency=(1, 25), bad=[BASES[2] + 0x2000])

    async def give(ctx: Any, one: dict[str, int]) -> None:
        ctx.set(dut.command.payload, one)
        ctx.set(dut.command.valid, 1)
        await wait_for(ctx, dut.command.ready)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)

    async def bench(ctx: Any) -> None:
        for n, base in enumerate(BASES):
            ctx.set(dut.base[n], base)
        for cycle in range(0, 90, 3):
            await give(ctx, command(0x2000 - 4 * BEAT, 30))
            ctx.set(dut.o.ready, cycle % 2)
            await ctx.tick().repeat(cycle + 1)
            ctx.set(dut.flush, 1)
            await ctx.tick()
            await wait_for(ctx, dut.drained)
            await ctx.tick()
            ctx.set(dut.flush, 0)
            await give(ctx, command(0x1000, 3))
            ctx.set(dut.o.ready, 1)
            found = list[int]()
            while len(found) < 3:
                _, _, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                found += [int(value)] if valid else []
            assert found == rows([command(0x1000, 3)])
            ctx.set(dut.o.ready, 0)

    simulate(dut, bench, *(s.reads(axi) for s, axi in zip(stores, dut.axi, strict=True)))


def beats(rng: np.random.Generator, count: int, last: int) -> list[dict[str, int]]:
    """Beats for random channels; every ``last``-th ends something."""
    return [
        {
            "channel": int(rng.integers(LANES)), "address": BEAT * int(rng.integers(SIZE // BEAT)),
            "value": int.from_bytes(rng.bytes(BEAT), "little"),
            "strobe": int(rng.integers(1, 1 << BEAT)), "last": int(n % last == last - 1),
        }
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_memory_holds_what_was_written(seed):
    """Bytes that are not strobed stay as they were; what ends something is answered first."""
    rng, dut = np.random.default_rng(seed), RowWriter(LANES, BITS)
    stores = memories(seed, stalls=0.3, latency=(1, 40), strobes=True)
    given = beats(rng, 60, 20)
    beside = [store.writes(axi) for store, axi in zip(stores, dut.axi, strict=True)]
    got = drive(dut, {"i": given}, {}, hold=HOLD, beside=beside, stalls=0.2, seed=seed, settle=100,
                counts=["done"])  # fmt: skip
    expected = [bytearray(each) for each in CONTENT]
    for beat in given:
        for n, value in enumerate(beat["value"].to_bytes(BEAT, "little")):
            if beat["strobe"] >> n & 1:
                expected[beat["channel"]][beat["address"] + n] = value
    assert [store.data for store in stores] == expected
    assert got.counts["done"] == 3


@pytest.mark.parametrize("sent", [((0, 0), (2, 1)), ((2, 1),)])
def test_what_ends_something_is_answered_before_the_next_beat(sent):
    """Two beats, whose answers come late and in one cycle; or the last one alone."""
    dut, done = RowWriter(LANES, BITS), list[int]()

    async def bench(ctx: Any) -> None:
        for n in range(LANES):
            ctx.set(dut.axi[n].awready, 1)
            ctx.set(dut.axi[n].wready, 1)
        ctx.set(dut.i.valid, 1)
        for channel, last in sent:
            ctx.set(dut.i.payload, {"channel": channel, "address": 0, "value": 0, "strobe": 1,
                                    "last": last})  # fmt: skip
            await wait_for(ctx, dut.i.ready)
            await ctx.tick()
        for cycle in range(40):
            for n, _ in sent:
                ctx.set(dut.axi[n].bvalid, int(cycle == 30))
            done.extend([cycle] if ctx.get(dut.done) else [])
            assert ctx.get(dut.i.ready) == (cycle > 33)
            await ctx.tick()
            if cycle > 30:
                ctx.set(dut.i.valid, 0)

    simulate(dut, bench)
    assert done == [33]


def test_a_beat_every_other_cycle():
    stores, dut = memories(strobes=True), RowWriter(LANES, BITS)
    given = beats(np.random.default_rng(1), 40, 41)
    beside = [store.writes(axi) for store, axi in zip(stores, dut.axi, strict=True)]
    got = drive(dut, {"i": given}, {}, hold=HOLD, beside=beside, settle=30)
    assert set(np.diff(got.cycles["i"])) == {RowWriter.interval}
    first = next(s for n, s in enumerate(stores) if n == given[0]["channel"])
    assert first.written[0].cycle - got.cycles["i"][0] == RowWriter.latency


def test_refuses_a_queue_smaller_than_a_burst():
    refuses(lambda: RowReader(2, 64, 7, 8), "depth must hold a burst of 8 beats, not 7")
