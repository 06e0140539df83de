"""The scheduler's commands at the pins: what, when, how far apart. Data are in test_sdram.py."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.soc.sdram_layouts import SdramShape
from lightmamba.hardware.soc.sdram_scheduler import SdramScheduler
from lightmamba.hardware.soc.sdram_timing import ULX3S

QUICK = replace(ULX3S, power_up=300.0)
NAMES = {5: "READ", 4: "WRITE", 3: "ACTIVE", 2: "PRECHARGE", 1: "REFRESH", 0: "MODE"}
Chunk = tuple[int, int, int, int, int]  # write, bank, row, beat, more


@dataclass
class Seen:
    """Cycle of each command with its name, bank and address; of each transfer, of each beat."""

    commands: list[tuple[int, str, int, int]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)
    ready: int = 0

    def of(self, *names: str) -> list[int]:
        return [cycle for cycle, name, _, _ in self.commands if name in names]


def run(
    dut: SdramScheduler, chunks: list[Chunk], *, capture: int = 1, cycles: int = 700, gap: int = 0
) -> Seen:
    """Chunks one after another, the next one ``gap`` cycles after the transfer of the last."""
    seen = Seen()

    async def watch(ctx: Any) -> None:
        pins = dut.pins
        for cycle in range(cycles):
            *_, ras, cas, we, bank, a, valid, ready = await ctx.tick("sdram").sample(
                pins.ras_n, pins.cas_n, pins.we_n, pins.ba, pins.a, dut.read_valid, dut.ready
            )
            if name := NAMES.get(ras << 2 | cas << 1 | we):
                seen.commands.append((cycle, name, bank, a))
            if valid:
                seen.beats.append(cycle)
            seen.ready += not ready

    async def give(ctx: Any) -> None:
        cycle = 0
        ctx.set(dut.write.valid, 1)
        ctx.set(dut.capture, capture)
        for write, bank, row, beat, more in chunks:
            place = {"beat": beat, "bank": bank, "row": row}
            ctx.set(dut.command.payload, {"write": write, "place": place, "more": more})
            ctx.set(dut.command.valid, 1)
            while True:
                _, _, ready = await ctx.tick("sdram").sample(dut.command.ready)
                cycle += 1
                if ready:
                    break
            seen.taken.append(cycle - 1)
            ctx.set(dut.command.valid, 0)
            for _ in range(gap):
                await ctx.tick("sdram")
                cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-8, domain="sdram")
    simulator.add_testbench(watch)
    simulator.add_testbench(give, background=True)
    simulator.run()
    return seen


@pytest.mark.parametrize(("mhz", "mode"), [(100, 0x22), (133, 0x32)])
def test_initialization(mhz: int, mode: int):
    """Precharge all, eight refreshes, the mode: 4 words to a burst, CAS latency 2 or 3."""
    dut = SdramScheduler(64, mhz, QUICK)
    t, seen = dut.cycles, run(dut, [], cycles=200)
    assert [name for _, name, _, _ in seen.commands] == ["PRECHARGE", *["REFRESH"] * 8, "MODE"]
    cycles = [cycle for cycle, _, _, _ in seen.commands]
    assert cycles[0] >= t.power_up
    assert cycles[1] - cycles[0] == t.rp
    assert [b - a for a, b in pairwise(cycles[1:])] == [t.rfc] * 8
    assert seen.commands[0][3] >> 10 & 1
    assert seen.commands[-1][2:] == (0, mode)
    assert seen.ready - cycles[-1] >= t.mrd - 2


def test_the_mode_of_a_narrow_port_is_bursts_of_two():
    assert run(SdramScheduler(32, 100, QUICK), [], cycles=200).commands[-1][3] == 0x21


@pytest.mark.parametrize(("bits", "mhz", "capture"), [(64, 100, 1), (32, 100, 0), (64, 133, 3)])
def test_latency(bits: int, mhz: int, capture: int):
    """The second chunk finds its row open."""
    dut = SdramScheduler(bits, mhz, QUICK)
    seen = run(dut, [(0, 1, 3, 5, 0), (0, 1, 3, 9, 0)], capture=capture, gap=60, cycles=400)
    assert seen.commands[-3:-1][0][1:] == ("ACTIVE", 1, 3)
    assert seen.of("READ")[1] - seen.taken[1] == dut.latency
    assert seen.beats[1] - seen.taken[1] == dut.read_latency(capture)
    length = dut.shape.length
    assert [a for _, name, _, a in seen.commands if name == "READ"] == [5 * length, 9 * length]


def between(dut: SdramScheduler, first: Chunk, second: Chunk) -> int:
    """Cycles from the last column command of a chunk to the first one of the next."""
    seen = run(dut, [first, second], cycles=500)
    columns = seen.of("READ", "WRITE")
    assert len(columns) == first[4] + second[4] + 2
    steps = [b - a for a, b in pairwise(columns)]
    at = first[4]
    assert {*steps[:at], *steps[at + 1 :]} <= {dut.shape.length}
    return steps[at]


@pytest.mark.parametrize("mhz", [100, 133])
@pytest.mark.parametrize("bits", [32, 64])
def test_chunks_follow_each_other(bits: int, mhz: int):
    """The gaps that the docstring names: none, a conflict in a bank, and from reads to writes."""
    t, shape = QUICK.cycles(mhz), SdramShape(bits)
    length, more = shape.length, shape.beats - 1

    def gap(first: tuple[int, int, int], second: tuple[int, int, int]) -> int:
        fresh = SdramScheduler(bits, mhz, QUICK)
        return between(fresh, (*first, 0, more), (*second, 7, more)) - length

    for write in (0, 1):
        assert gap((write, 0, 4), (write, 0, 4)) == 0  # its row is open
        assert gap((write, 0, 4), (write, 1, 9)) == 0  # in another bank
        conflict = gap((write, 0, 4), (write, 0, 5)) - t.rp - t.rcd
        assert conflict == (t.wr - 1 if write else t.cas - 2)
    assert gap((1, 0, 4), (0, 1, 4)) == 0
    assert gap((0, 0, 4), (1, 1, 4)) == t.cas + 1


@pytest.mark.parametrize("bits", [32, 64])
def test_short_chunks_of_open_rows_follow_each_other_too(bits: int):
    """One beat each, in four banks in turn: as fast as the data lines allow."""
    chunks = [(0, n % 4, 8, n, 0) for n in range(24)]
    columns = run(SdramScheduler(bits, 100, QUICK), chunks).of("READ")
    steps = {b - a for a, b in pairwise(columns[4:])}
    assert steps == {bits // 16}


def test_refreshes_come_in_time_under_load_and_without():
    """All banks are closed before, and the next chunk opens its row again."""
    t = QUICK.cycles(100)
    for chunks in ([], [(n % 2, n // 8 % 4, n // 32, n % 8 * 16, 15) for n in range(400)]):
        seen = run(SdramScheduler(64, 100, QUICK), chunks, cycles=9000)
        at = seen.of("REFRESH")[8:]
        assert len(at) == 11
        assert all(abs(b - a - t.refresh) <= 75 for a, b in pairwise(at))
        for cycle in at:
            n = next(k for k, c in enumerate(seen.commands) if c[0] == cycle)
            before, (_, _, _, address) = seen.commands[n - 1][0], seen.commands[n - 1]
            assert (cycle - before, address) == (t.rp, 1 << 10)
            if chunks:
                assert seen.commands[n + 1][1] == "ACTIVE"


@pytest.mark.parametrize("bits", [64, 32])
def test_a_write_waits_for_its_data(bits):
    """Nothing else is disturbed, and the chunk goes on when they come; each beat is taken once."""
    dut = SdramScheduler(bits, 100, QUICK)
    writes: list[int] = []
    taken: list[int] = []

    async def bench(ctx: Any) -> None:
        offered = False
        place = {"beat": 0, "bank": 0, "row": 1}
        ctx.set(dut.command.payload, {"write": 1, "place": place, "more": 2})
        ctx.set(dut.command.valid, 1)
        await ctx.tick("sdram").until(dut.command.ready)
        ctx.set(dut.command.valid, 0)
        for cycle in range(120):
            offered |= cycle % 20 == 19
            ctx.set(dut.write.valid, offered)
            _, _, cas, we, ready = await ctx.tick("sdram").sample(
                dut.pins.cas_n, dut.pins.we_n, dut.write.ready
            )
            if not cas and not we:
                writes.append(cycle)
            if ready:
                assert offered
                taken.append(cycle)
                offered = False

    simulator = Simulator(dut)
    simulator.add_clock(1e-8, domain="sdram")
    simulator.add_testbench(bench)
    simulator.run()
    assert [b - a for a, b in pairwise(writes)] == [20, 20]
    assert taken == [20, 40, 60]  # a cycle after each is offered and used


def test_a_read_takes_no_beat():
    """One that waits for the chunk after it."""
    dut = SdramScheduler(64, 100, QUICK)
    reads, taken = 0, 0

    async def bench(ctx: Any) -> None:
        nonlocal reads, taken
        place = {"beat": 0, "bank": 0, "row": 1}
        ctx.set(dut.command.payload, {"write": 0, "place": place, "more": 2})
        ctx.set(dut.command.valid, 1)
        ctx.set(dut.write.valid, 1)
        await ctx.tick("sdram").until(dut.command.ready)
        ctx.set(dut.command.valid, 0)
        for _ in range(60):
            _, _, ready, beat = await ctx.tick("sdram").sample(dut.write.ready, dut.read_valid)
            reads, taken = reads + beat, taken + ready

    simulator = Simulator(dut)
    simulator.add_clock(1e-8, domain="sdram")
    simulator.add_testbench(bench)
    simulator.run()
    assert (reads, taken) == (3, 0)
