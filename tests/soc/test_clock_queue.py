"""A queue between two clocks: nothing is lost, changed or doubled, at any ratio."""

import random
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Fragment, Module
from amaranth.sim import Simulator

from lightmamba.hardware.soc.clock_queue import ClockQueue

from ..support.axi import refuses
from ..support.cases import crossed

Times = list[float]


def run(
    depth: int, source_ns: float, target_ns: float, count: int, *, gaps: float = 0.0,
    stalls: float = 0.0, seed: int = 0, registers: int = 1,
) -> tuple[list[int], Times, Times]:  # fmt: skip
    """Send numbers through; also the times of the transfers on both sides, in ns."""
    dut = ClockQueue(24, depth, "source", "target", registers=registers)
    m = Module()
    m.domains += [ClockDomain("source"), ClockDomain("target")]
    m.submodules.dut = dut
    chance, sent, seen, found = random.Random(seed), [], [], []
    values = random.Random(seed + 1).sample(range(1 << 24), count)

    async def give(ctx: Any) -> None:
        edge = 0

        async def tick() -> bool:
            nonlocal edge
            _, _, ready = await ctx.tick("source").sample(dut.i.ready)
            edge += 1
            return bool(ready)

        for _ in range(8):
            await tick()
        for value in values:
            while chance.random() < gaps:
                await tick()
            ctx.set(dut.i.payload, value)
            ctx.set(dut.i.valid, 1)
            while not await tick():
                pass
            sent.append(1.0 + (edge - 1) * source_ns)
            ctx.set(dut.i.valid, 0)

    async def take(ctx: Any) -> None:
        held = None
        for edge in range(100 * count + 1000):
            ready = chance.random() >= stalls
            ctx.set(dut.o.ready, ready)
            _, _, valid, value = await ctx.tick("target").sample(dut.o.valid, dut.o.payload)
            assert held is None or (valid and value == held), "changed before it was taken"
            held = value if valid and not ready else None
            if valid and ready:
                found.append(value)
                seen.append(1.3 + edge * target_ns)
                if len(found) == count:
                    return
        raise AssertionError(f"{len(found)} of {count} came")

    simulator = Simulator(m)
    simulator.add_clock(source_ns * 1e-9, phase=1e-9, domain="source")
    simulator.add_clock(target_ns * 1e-9, phase=1.3e-9, domain="target")
    simulator.add_testbench(give)
    simulator.add_testbench(take)
    simulator.run()
    assert found == values
    return found, sent, seen


@pytest.mark.parametrize(
    ("depth", "source_ns", "target_ns", "gaps", "stalls"),
    crossed(
        [(4, 16.7, 10.0), (64, 10.0, 16.7), (8, 10.0, 10.0), (4, 7.5, 33.0), (16, 33.0, 7.5)],
        [(0.0, 0.0), (0.5, 0.3), (0.0, 0.8), (0.8, 0.0)],
    ),
)
def test_all_arrive_in_order(
    depth: int, source_ns: float, target_ns: float, gaps: float, stalls: float
):
    run(depth, source_ns, target_ns, 150, gaps=gaps, stalls=stalls, seed=depth)


@pytest.mark.parametrize("registers", [2, 3])
@pytest.mark.parametrize(("gaps", "stalls"), [(0.0, 0.0), (0.5, 0.3), (0.0, 0.8)])
def test_all_arrive_through_more_registers(registers: int, gaps: float, stalls: float):
    run(8, 16.7, 10.0, 150, gaps=gaps, stalls=stalls, seed=registers, registers=registers)


CLOCKS = [(10.0, 10.0, 1), (16.7, 10.0, 1), (8.0, 20.0, 1), (16.7, 10.0, 2), (8.0, 20.0, 3)]


@pytest.mark.parametrize(("source_ns", "target_ns", "registers"), CLOCKS)
def test_latency(source_ns: float, target_ns: float, registers: int):
    _, sent, seen = run(8, source_ns, target_ns, 1, registers=registers)
    cycles = (seen[0] - sent[0]) / target_ns
    assert 4 + registers <= cycles < 5.01 + registers
    dut = ClockQueue(24, 8, "source", "target", registers=registers)
    Fragment.get(dut, None)  # it is used, as Amaranth wants
    assert dut.latency == 4 + registers


@pytest.mark.parametrize(("source_ns", "target_ns", "registers"), CLOCKS)
def test_throughput(source_ns: float, target_ns: float, registers: int):
    _, _, seen = run(16, source_ns, target_ns, 200, registers=registers)
    slower = max(source_ns, target_ns)
    assert (seen[-1] - seen[20]) / slower == pytest.approx(179 * ClockQueue.interval, abs=1.5)


@pytest.mark.parametrize("depth", [2, 6, 0])
def test_refuses_other_depths(depth: int):
    refuses(
        lambda: ClockQueue(8, depth, "source", "target"), f"power of two from 4 on, not {depth}"
    )


def test_refuses_to_leave_out_the_last_register():
    refuses(lambda: ClockQueue(8, 8, "source", "target", registers=0), "must be 1 or more, not 0")


@pytest.mark.parametrize("registers", [1, 2])
def test_holds_its_depth_and_the_places(registers: int):
    """Nobody takes anything: ready falls after the last of these transfers."""
    dut = ClockQueue(8, 8, "sync", "sync", registers=registers)
    moved = 0

    async def bench(ctx: Any) -> None:
        nonlocal moved
        await ctx.tick().repeat(8)
        ctx.set(dut.i.valid, 1)
        for _ in range(60):
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            moved += ready

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert moved == dut.depth + dut.places
