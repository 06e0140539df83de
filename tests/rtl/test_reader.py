"""Readers against a memory that keeps the rules and nothing more."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory.reader import Reader, Unpacker, WordReader

from ..support.axi import Memory, refuses, wait_for
from ..support.beats import cut
from ..support.streams import drive

BASE = 0xAB_CDEF_F000  # one page below a border of all lower address bits
SIZE = 0x4000
CONTENT = np.random.default_rng(3).bytes(SIZE)


def memory(**options: Any) -> Memory:
    return Memory(CONTENT, base=BASE, **options)


def command(address: int, count: int, zero: int = 0) -> dict[str, int]:
    return {"address": BASE + address, "count": count, "zero": zero}


def pieces(commands: Sequence[dict[str, int]], size: int) -> list[int]:
    """Data of the commands, in numbers of ``size`` bytes."""
    found = []
    for c in commands:
        for n in range(c["count"]):
            at = c["address"] - BASE + n * size
            found.append(0 if c["zero"] else int.from_bytes(CONTENT[at : at + size], "little"))
    return found


def jobs(rng: np.random.Generator, beat: int, unit: int) -> list[dict[str, int]]:
    """Commands of any kind, of numbers of ``unit`` bytes, at multiples of a beat."""
    found = [command(0x1000 - beat, 2), command(0, 0), command(beat, 3, 1), command(beat, 1)]
    for _ in range(6):
        count = int(rng.integers(0, 48))
        address = int(rng.integers(0, (SIZE - 48 * unit) // beat)) * beat
        found.append(command(address, count, int(rng.random() < 0.3)))
    return found


@pytest.mark.parametrize(
    ("bits", "depth", "burst", "stalls", "latency"),
    [
        (128, 32, 16, 0.0, (3, 3)), (128, 40, 16, 0.3, (1, 30)), (256, 2, 1, 0.5, (1, 5)),
        (512, 7, 7, 0.3, (1, 20)), (64, 64, 16, 0.1, (20, 60)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_gives_what_memory_holds(
    bits: int, depth: int, burst: int, stalls: float, latency: tuple[int, int], seed: int
):
    rng, size = np.random.default_rng([bits, seed]), bits // 8
    commands = jobs(rng, size, size)
    expected = pieces(commands, size)
    store = memory(stalls=stalls, latency=latency, seed=seed)
    dut = Reader(bits, depth, burst)
    run = drive(
        dut, {"command": commands}, {"o": len(expected)}, beside=[store.reads(dut.axi)],
        stalls=stalls, seed=seed, settle=80, limit=8000,
    )  # fmt: skip
    assert run.out["o"] == expected
    assert {b.id for b in store.asked} == {0}
    assert max(b.beats for b in store.asked) <= burst
    assert sum(b.beats for b in store.asked) == sum(c["count"] for c in commands if not c["zero"])
    # What was asked for and what waits fit into the queue at any time.
    for n, b in enumerate(store.asked):
        asked = sum(a.beats for a in store.asked[: n + 1])
        made = sum(c <= b.cycle for c in run.cycles["o"])
        zeros = sum(v == 0 for v in run.out["o"][:made])
        assert asked - (made - zeros) <= depth


@pytest.mark.parametrize(("depth", "asked"), [(64, 64), (70, 64), (40, 32), (16, 16)])
def test_asks_for_no_more_than_it_has_room_for(depth: int, asked: int):
    store, dut = memory(), Reader(128, depth, 16)
    drive(dut, {"command": [command(0, 200)]}, {}, beside=[store.reads(dut.axi)], settle=300)
    assert sum(b.beats for b in store.asked) == asked


def test_latency_and_throughput():
    """Bursts go out back to back; with room for the latency, beats come without a pause."""
    store, dut = memory(latency=(40, 40)), Reader(128, 64, 8)
    run = drive(dut, {"command": [command(0, 400)]}, {"o": 400}, beside=[store.reads(dut.axi)])
    first = store.asked[0].cycle
    assert first - run.cycles["command"][0] == dut.latency
    assert [b.cycle for b in store.asked[:8]] == list(range(first, first + 8 * dut.interval))
    assert run.cycles["o"][0] - store.sent[0] == dut.data_latency
    assert run.cycles["o"] == list(range(run.cycles["o"][0], run.cycles["o"][0] + 400))


def test_bursts_of_one_beat_keep_up():
    store, dut = memory(latency=(5, 5)), Reader(128, 32, 1)
    run = drive(dut, {"command": [command(0, 100)]}, {"o": 100}, beside=[store.reads(dut.axi)])
    assert run.cycles["o"][-1] - run.cycles["o"][0] == 99 * dut.interval


def test_zeros_wait_for_what_is_outstanding_and_ask_for_nothing():
    store, dut = memory(latency=(30, 30)), Reader(128, 32, 16)
    commands = [command(0, 3), command(0, 5, 1), command(0x40, 2)]
    run = drive(dut, {"command": commands}, {"o": 10}, beside=[store.reads(dut.axi)])
    assert run.out["o"] == pieces(commands, 16)
    assert [b.beats for b in store.asked] == [3, 2]
    assert run.cycles["o"][7] == run.cycles["o"][3] + 4  # one zero per cycle


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_flush_drops_everything(words: bool, stalls: float):
    """Flushed at every cycle of a job; after it is drained, the next job is as new."""
    dut: Any = WordReader(128, 32, 8) if words else Reader(128, 32, 8)
    store = memory(stalls=stalls, latency=(1, 25), seed=1, bad=[BASE + 0x2000])
    n, size = 5, 8 if words else 16
    rng = np.random.default_rng(0)
    got: list[list[int]] = []

    async def take(ctx: Any, count: int, limit: int = 300) -> list[int]:
        values: list[int] = []
        ctx.set(dut.o.ready, 1)
        for _ in range(limit):
            if len(values) == count:
                break
            _, _, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                values.append(int(value))
        ctx.set(dut.o.ready, 0)
        return values

    async def give(ctx: Any, one: dict[str, int]) -> None:
        ctx.set(dut.command.payload, one)
        ctx.set(dut.command.valid, 1)
        await wait_for(ctx, dut.command.ready)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)

    async def bench(ctx: Any) -> None:
        assert ctx.get(dut.drained)
        for wait in range(0, 60, 3):
            await give(ctx, command(0x1F00, 70))
            assert not ctx.get(dut.drained)
            got.append(await take(ctx, wait // 2, wait))
            await ctx.tick().repeat(int(rng.integers(1, 30)))
            # One command is offered while it flushes; it is swallowed.
            ctx.set(dut.flush, 1)
            await give(ctx, command(0x200, 9))
            for _ in range(int(rng.integers(0, 3))):
                assert not ctx.get(dut.o.valid)
                await ctx.tick()
            await wait_for(ctx, dut.drained)
            asked = len(store.asked)
            for _ in range(5):
                assert ctx.get(dut.drained)
                assert not ctx.get(dut.o.valid)
                await ctx.tick()
            assert len(store.asked) == asked
            await give(ctx, command(0x400, 7))  # in the last cycle of the flush
            ctx.set(dut.flush, 0)
            await give(ctx, command(0x300, n))
            values = await take(ctx, n - 1)
            await ctx.tick().repeat(3)
            assert not ctx.get(dut.drained)
            assert values + await take(ctx, 1) == pieces([command(0x300, n)], size)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.drained)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(store.reads(dut.axi), background=True)
    simulator.add_testbench(bench)
    simulator.run()
    whole = pieces([command(0x1F00, 70)], size)
    assert all(part == whole[: len(part)] for part in got)
    assert max(map(len, got)) > 10  # some were in the middle


def test_nothing_new_is_asked_for_while_held():
    dut, asked = Reader(128, 64, 4), []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.axi.arready, 1)
        ctx.set(dut.hold, 1)
        ctx.set(dut.command.payload, command(0, 64))
        ctx.set(dut.command.valid, 1)
        for cycle in range(60):
            await ctx.tick()
            asked.append(ctx.get(dut.axi.arvalid))
            if cycle == 0:
                ctx.set(dut.command.valid, 0)
            if cycle in (29, 34):
                ctx.set(dut.hold, cycle == 34)
            if cycle == 44:
                ctx.set(dut.hold, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert sum(asked[:30]) == 0
    assert 0 < sum(asked[30:37]) < 8
    assert sum(asked[37:45]) == 0
    assert sum(asked) == 64 // 4


def test_refuses_a_queue_smaller_than_a_burst():
    refuses(lambda: Reader(128, 15, 16), "depth must hold a burst of 16 beats, not 15")
    drive(Reader(512, 64, 256), {"command": [command(0, 0)]}, {})  # a page has 64


@pytest.mark.parametrize(
    ("bits", "stalls"), [(32, 0.3), (64, 0.3), (128, 0.0), (256, 0.4), (512, 0.2)]
)
def test_unpacker_equals_slices(bits: int, stalls: float):
    rng, n = np.random.default_rng(bits), max(1, bits // 64)
    counts = [1, n, n + 1, 0, 2 * n - 1, *(int(rng.integers(1, 30)) for _ in range(8))]
    words = [[int(w) for w in rng.integers(0, 1 << 64, c, dtype=np.uint64)] for c in counts]
    beats = []
    for segment in words:
        for at in range(0, len(segment), n):
            some = segment[at : at + n]
            some += [0xDEAD] * (n - len(some))
            beats += cut(sum(word << 64 * k for k, word in enumerate(some)), bits)
    flat = [word for segment in words for word in segment]
    run = drive(
        Unpacker(bits), {"command": counts, "i": beats}, {"o": len(flat)}, stalls=stalls, settle=5
    )
    assert run.out["o"] == flat


@pytest.mark.parametrize("bits", [32, 64, 256])
def test_unpacker_latency_and_throughput(bits: int):
    n, dut = max(1, bits // 64), Unpacker(bits)
    run = drive(dut, {"command": [20 * n], "i": [5] * 20 * dut.beats}, {"o": 20 * n})
    first = run.cycles["o"][0]
    assert first - run.cycles["i"][dut.beats - 1] == dut.latency
    assert run.cycles["o"] == list(range(first, first + 20 * n * dut.interval, dut.interval))


@pytest.mark.parametrize(
    ("bits", "depth", "burst", "stalls"),
    [(32, 32, 16, 0.2), (64, 32, 16, 0.0), (128, 32, 16, 0.3), (256, 9, 3, 0.4), (512, 16, 8, 0.1)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_words_equal_memory(bits: int, depth: int, burst: int, stalls: float, seed: int):
    rng = np.random.default_rng([bits, seed])
    commands = jobs(rng, bits // 8, 8)
    expected = pieces(commands, 8)
    store, dut = memory(stalls=stalls, latency=(1, 20), seed=seed), WordReader(bits, depth, burst)
    run = drive(
        dut, {"command": commands}, {"o": len(expected)}, beside=[store.reads(dut.axi)],
        stalls=stalls, seed=seed, settle=60, limit=8000,
    )  # fmt: skip
    assert run.out["o"] == expected
    n, each = max(1, bits // 64), max(1, 64 // bits)
    assert sum(b.beats for b in store.asked) == sum(
        -(-c["count"] // n) * each for c in commands if not c["zero"]
    )


def test_words_latency_and_throughput():
    store, dut = memory(latency=(9, 9)), WordReader(128, 32, 8)
    run = drive(dut, {"command": [command(0, 101)]}, {"o": 101}, beside=[store.reads(dut.axi)])
    assert store.asked[0].cycle - run.cycles["command"][0] == dut.latency
    assert run.cycles["o"][0] - store.sent[0] == dut.data_latency
    assert run.cycles["o"][-1] - run.cycles["o"][0] == 100 * dut.interval


def test_words_are_read_ahead_of_the_words_handed_out():
    """Five commands are taken while not one word leaves: one is unpacked, four wait."""
    store, dut = memory(), WordReader(128, 32, 8)
    drive(dut, {"command": [command(64 * k, 5) for k in range(5)]}, {}, settle=60,
          beside=[store.reads(dut.axi)])  # fmt: skip
    assert [b.beats for b in store.asked] == [3] * 5


def test_every_command_keeps_its_count():
    """Ten of them whose beats all fit into the queue, while words leave slowly."""
    store, dut = memory(), WordReader(128, 32, 8)
    commands = [command(64 * k, 5 - k % 2) for k in range(10)]
    expected = pieces(commands, 8)
    run = drive(dut, {"command": commands}, {"o": len(expected)}, slow={"o": 0.95}, settle=40,
                beside=[store.reads(dut.axi)], limit=8000)  # fmt: skip
    assert run.out["o"] == expected
