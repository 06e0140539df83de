"""How a unit takes its commands, keeps them, and is busy."""

from itertools import pairwise
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import command, i_stream
from tests.support.streams import drive


class Unit(wiring.Component):
    """Does nothing for as many cycles as ``groups`` of its command says, or until ``stop``."""

    def __init__(self) -> None:
        self.stop, self.start, self.active = Signal(), Signal(), Signal()
        self.fields: Any = Signal(command("bc"))
        super().__init__({"command": i_stream(command("bc")), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, left = Job(m, self.command, self.busy), Signal(4)
        with m.If(job.start):
            m.d.sync += left.eq(self.command.payload.groups)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        job.end((left == 0) | self.stop)
        m.d.comb += [
            self.start.eq(job.start),
            self.active.eq(job.active),
            self.fields.eq(job.fields),
        ]
        return m


@pytest.mark.parametrize("by", [1, 2, 4])
def test_countdown(by):
    """Its registers say what a comparison of the count would, from any beginning."""
    m, left = Module(), Countdown(4, by)
    load, step, count = Signal(), Signal(), Signal(4)
    with m.If(load):
        m.d.sync += left.load(count)
    with m.Elif(step):
        m.d.sync += left.step()
    seen = []

    async def bench(ctx: Any) -> None:
        for begin in (0, 1, 2, 5, 15):
            ctx.set(load, 1)
            ctx.set(count, begin)
            await ctx.tick()
            ctx.set(load, 0)
            for expected in (*range(begin, 0, -by), 0):
                seen.append((ctx.get(left.some), ctx.get(left.last), expected))
                ctx.set(step, int(expected > 0))
                await ctx.tick()
                ctx.set(step, 0)
                await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(seen) == sum(1 + -(-begin // by) for begin in (0, 1, 2, 5, 15))
    assert all(some == (n > 0) and last == (0 < n <= by) for some, last, n in seen)


def test_one_command_cycle_by_cycle():
    """A second one waits meanwhile; the fields stay, and an end without a job does nothing."""
    dut, seen = Unit(), []

    async def bench(ctx):
        def see():
            signals = (dut.command.ready, dut.start, dut.active, dut.busy, dut.fields.d_state)
            seen.append(tuple(map(ctx.get, signals)))

        ctx.set(dut.stop, 1)
        await ctx.tick()
        see()
        ctx.set(dut.command.payload, {"groups": 9, "d_state": 77})
        ctx.set(dut.command.valid, 1)
        see()
        await ctx.tick()
        ctx.set(dut.stop, 0)
        ctx.set(dut.command.payload, {"groups": 0, "d_state": 5})
        for _ in range(3):
            see()
            await ctx.tick()
        ctx.set(dut.stop, 1)
        see()
        await ctx.tick()
        see()
        await ctx.tick()
        ctx.set(dut.command.valid, 0)
        see()
        await ctx.tick()
        see()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    idle, taken, works = (1, 0, 0, 0), (1, 1, 0, 1), (0, 0, 1, 1)
    wanted = [idle, taken, works, works, works, works, taken, works, idle]
    assert [s[:4] for s in seen] == wanted
    assert [s[4] for s in seen[2:7]] == [77] * 5
    assert [s[4] for s in seen[7:]] == [5, 5]


def test_commands_one_after_the_other():
    """Each for its own time: two cycles to begin and to end, and as many as it says."""
    times = [1, 15, 2, 2, 7]
    commands = [{"groups": n, "d_state": n} for n in times]
    run = drive(Unit(), {"command": commands}, {}, counts=["busy", "start"], settle=30)
    taken = run.cycles["command"]
    assert [b - a for a, b in pairwise(taken)] == [n + 2 for n in times[:-1]]
    assert run.counts["start"] == len(times)
    assert run.counts["busy"] == sum(times) + 2 * len(times)
