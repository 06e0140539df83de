"""Writers against a memory that keeps the rules and nothing more."""

import math
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.latency import OUTSTANDING
from lightmamba.hardware.rtl.memory.writer import Packer, WordWriter, Writer

from ..support.axi import Memory, refuses
from ..support.beats import cut
from ..support.streams import drive

BASE = 0xAB_CDEF_F000  # one page below a border of all lower address bits
SIZE = 0x4000
GUARD = b"\xaa"


def memory(**options: Any) -> Memory:
    return Memory(GUARD * SIZE, base=BASE, **options)


def command(address: int, count: int) -> dict[str, int]:
    return {"address": BASE + address, "count": count}


def jobs(rng: np.random.Generator, beat: int, unit: int) -> list[dict[str, int]]:
    """Commands side by side, with gaps, over borders of pages."""
    found, at = [], 0x1000 - 2 * beat
    for count in (3, 1, *(int(rng.integers(1, 40)) for _ in range(8))):
        found.append(command(at, count))
        at += -(-count * unit // beat) * beat + int(rng.integers(0, 3)) * beat
    return found


def numbers(rng: np.random.Generator, commands: list[dict[str, int]], size: int) -> list[int]:
    return [int.from_bytes(rng.bytes(size), "little") for c in commands for _ in range(c["count"])]


def written(commands: list[dict[str, int]], values: list[int], size: int, beat: int) -> bytes:
    """Memory as it should be: untouched but for the commands, their last beat filled with zeros."""
    content, rest = bytearray(GUARD * SIZE), iter(values)
    for c in commands:
        data = b"".join(next(rest).to_bytes(size, "little") for _ in range(c["count"]))
        data += bytes(-len(data) % beat)
        at = c["address"] - BASE
        content[at : at + len(data)] = data
    return bytes(content)


@pytest.mark.parametrize(
    ("bits", "depth", "burst", "stalls", "latency"),
    [
        (128, 32, 16, 0.0, (3, 3)), (128, 16, 16, 0.3, (1, 30)), (256, 2, 1, 0.5, (1, 5)),
        (512, 9, 7, 0.3, (1, 20)), (64, 64, 16, 0.1, (20, 60)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_memory_holds_what_was_given(
    bits: int, depth: int, burst: int, stalls: float, latency: tuple[int, int], seed: int
):
    rng, size = np.random.default_rng([bits, seed]), bits // 8
    commands = jobs(rng, size, size)
    values = numbers(rng, commands, size)
    store, dut = memory(stalls=stalls, latency=latency, seed=seed), Writer(bits, depth, burst)
    run = drive(
        dut, {"command": commands, "i": values}, {}, beside=[store.writes(dut.axi)],
        stalls=stalls, seed=seed, settle=300, counts=["done"], limit=8000,
    )  # fmt: skip
    assert bytes(store.data) == written(commands, values, size, size)
    assert run.counts == {"done": len(commands)}
    assert {b.id for b in store.written} == {0}
    assert max(b.beats for b in store.written) <= burst
    # No address before all its beats are here.
    claimed = 0
    for b in sorted(store.written, key=lambda b: b.cycle):
        claimed += b.beats
        assert sum(cycle < b.cycle for cycle in run.cycles["i"]) >= claimed


def test_waits_for_the_whole_burst_then_sends_it_without_a_pause():
    """Nothing goes out for 15 of 16 beats; with the last one everything does."""
    dut, store = Writer(128, 32, 16), memory()
    seen: list[tuple[int, int]] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.command.payload, command(0, 16))
        ctx.set(dut.command.valid, 1)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)
        ctx.set(dut.i.valid, 1)
        for n in range(15):
            ctx.set(dut.i.payload, n)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(40):
            assert not ctx.get(dut.axi.awvalid) | ctx.get(dut.axi.wvalid) | ctx.get(dut.done)
            assert ctx.get(dut.busy)
            await ctx.tick()
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for cycle in range(1, 40):
            _, _, aw, w = await ctx.tick().sample(dut.axi.awvalid, dut.axi.wvalid)
            seen.append((cycle if aw else 0, cycle if w else 0))
            if ctx.get(dut.done):
                break
            assert ctx.get(dut.busy)
        await ctx.tick()
        assert not ctx.get(dut.busy)
        assert not ctx.get(dut.done)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(store.writes(dut.axi), background=True)
    simulator.add_testbench(bench)
    simulator.run()
    assert [aw for aw, _ in seen if aw] == [dut.latency]
    beats = [w for _, w in seen if w]
    assert beats == list(range(beats[0], beats[0] + 16))
    assert len(store.written) == 1


def test_throughput():
    """Responses far behind; beats without a pause, bursts outstanding."""
    dut, store = Writer(128, 32, 8), memory(latency=(60, 60))
    run = drive(
        dut, {"command": [command(0, 160), command(0x1000, 40)], "i": [7] * 200}, {},
        beside=[store.writes(dut.axi)], settle=100, counts=["done"],
    )  # fmt: skip
    assert run.counts["done"] == 2
    assert store.taken[159] - store.taken[0] == 159 * dut.interval
    assert store.taken[-1] - store.taken[0] <= 199 + 4  # a command costs a little


def test_addresses_may_run_ahead_of_their_data():
    rng, dut, store = np.random.default_rng(2), Writer(128, 32, 3), memory(data_stalls=0.9)
    commands = [command(0, 5), command(0x80, 1), command(0x90, 40)]
    values = numbers(rng, commands, 16)
    run = drive(
        dut, {"command": commands, "i": values}, {}, beside=[store.writes(dut.axi)], settle=700,
        counts=["done"], limit=3000,
    )  # fmt: skip
    assert bytes(store.data) == written(commands, values, 16, 16)
    assert run.counts["done"] == 3


def test_bursts_without_answer_are_limited():
    dut, store = Writer(128, 8, 1), memory(latency=(500, 500))
    values = [1] * (OUTSTANDING + 8)
    drive(dut, {"command": [command(0, 40)], "i": values}, {}, beside=[store.writes(dut.axi)],
          settle=80)  # fmt: skip
    assert len(store.taken) == OUTSTANDING


@pytest.mark.parametrize(("make", "unit"), [(Writer, 16), (WordWriter, 8)])
def test_done_comes_after_the_answers_in_order(make: Any, unit: int):
    """At every pulse one more command is wholly in memory, and the next one is not."""
    rng, dut = np.random.default_rng(1), make(128, 16, 4)
    store = memory(stalls=0.3, latency=(1, 40))
    commands = [command(0x400 * k, count) for k, count in enumerate((9, 1, 4, 6, 2))]
    pulses: list[tuple[int, int]] = []
    values = numbers(rng, commands, unit)
    bursts = [math.ceil(c["count"] * unit / 64) for c in commands]

    async def watch(ctx: Any) -> None:
        while True:
            answers = len(store.written)
            _, _, done, busy = await ctx.tick().sample(dut.done, dut.busy)
            if done:
                assert busy
                pulses.append((answers, len(store.written)))

    drive(dut, {"command": commands, "i": values}, {}, settle=400, limit=3000,
          beside=[store.writes(dut.axi), watch])  # fmt: skip
    assert len(pulses) == len(commands)
    for k, (before, _) in enumerate(pulses):
        assert before >= sum(bursts[: k + 1])
    assert pulses[0][0] < sum(bursts)


def test_refuses_a_queue_smaller_than_a_burst():
    refuses(lambda: Writer(128, 15, 16), "depth must hold a burst of 16 beats, not 15")
    drive(Writer(512, 64, 256), {"i": [0]}, {})  # a page has 64


@pytest.mark.parametrize(
    ("bits", "stalls"), [(32, 0.3), (64, 0.3), (128, 0.0), (256, 0.4), (512, 0.2)]
)
def test_packer_equals_slices(bits: int, stalls: float):
    rng, n = np.random.default_rng(bits), max(1, bits // 64)
    counts = [1, n, n + 1, 0, 2 * n - 1, *(int(rng.integers(1, 30)) for _ in range(8))]
    words = [[int(w) for w in rng.integers(0, 1 << 64, c, dtype=np.uint64)] for c in counts]
    beats = [
        beat
        for segment in words
        for at in range(0, len(segment), n)
        for beat in cut(sum(word << 64 * k for k, word in enumerate(segment[at : at + n])), bits)
    ]
    flat = [word for segment in words for word in segment]
    run = drive(
        Packer(bits), {"command": counts, "i": flat}, {"o": len(beats)}, stalls=stalls, settle=5
    )
    assert run.out["o"] == beats


@pytest.mark.parametrize("bits", [32, 64, 256])
def test_packer_latency_and_throughput(bits: int):
    n, dut = max(1, bits // 64), Packer(bits)
    run = drive(dut, {"command": [20 * n], "i": [5] * (20 * n)}, {"o": 20 * dut.beats})
    assert run.cycles["o"][0] - run.cycles["i"][n - 1] == dut.latency
    assert run.cycles["o"][-dut.beats] - run.cycles["o"][0] == 19 * n * dut.interval


@pytest.mark.parametrize(
    ("bits", "depth", "burst", "stalls"),
    [(32, 32, 16, 0.2), (64, 32, 16, 0.0), (128, 16, 16, 0.3), (256, 9, 3, 0.4), (512, 16, 8, 0.1)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_memory_holds_the_words(bits: int, depth: int, burst: int, stalls: float, seed: int):
    rng = np.random.default_rng([bits, seed])
    commands = jobs(rng, bits // 8, 8)
    values = numbers(rng, commands, 8)
    store, dut = memory(stalls=stalls, latency=(1, 20), seed=seed), WordWriter(bits, depth, burst)
    run = drive(
        dut, {"command": commands, "i": values}, {}, beside=[store.writes(dut.axi)],
        stalls=stalls, seed=seed, settle=200, counts=["done"], limit=8000,
    )  # fmt: skip
    assert bytes(store.data) == written(commands, values, 8, bits // 8)
    assert run.counts["done"] == len(commands)


def test_words_latency_and_throughput():
    dut, store = WordWriter(64, 32, 8), memory()
    cycles: list[int] = []

    async def watch(ctx: Any) -> None:
        cycle = 0
        while True:
            _, _, valid = await ctx.tick().sample(dut.axi.awvalid)
            cycles.extend([cycle] * valid)
            cycle += 1

    run = drive(dut, {"command": [command(0, 160)], "i": [3] * 160}, {}, settle=30,
                beside=[store.writes(dut.axi), watch])  # fmt: skip
    assert cycles[0] - run.cycles["i"][7] == dut.latency
    assert run.cycles["i"][-1] - run.cycles["i"][0] == 159 * dut.interval
    assert store.taken[-1] - store.taken[0] == 159


def test_words_go_on_while_earlier_commands_are_written():
    """The next commands' words are packed while memory takes nothing at all."""
    dut = WordWriter(128, 16, 4)
    run = drive(dut, {"command": [command(64 * k, 3) for k in range(5)], "i": [1] * 15}, {},
                limit=200)  # fmt: skip
    assert run.total < 60
