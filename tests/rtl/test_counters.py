"""Counters and traffic against sums in Python."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Signal
from amaranth.sim import Simulator

from lightmamba.rtl.counters import Counters, Traffic


def test_counters_add_what_they_are_given_while_enabled():
    a, b = Signal(1), Signal(7)
    dut = Counters(("a", "b", "always"))
    dut.count("a", a)
    dut.count("b", b)
    dut.count("b", a)  # two events of one counter
    dut.count("always", a, always=True)
    rng = np.random.default_rng(2)
    events = [tuple(map(int, e)) for e in zip(
        rng.integers(0, 2, 60), rng.integers(0, 128, 60), rng.random(60) < 0.7, strict=True
    )]  # fmt: skip
    found = []

    async def bench(ctx: Any) -> None:
        for one, many, on in events:
            ctx.set(a, one)
            ctx.set(b, many)
            ctx.set(dut.enable, on)
            await ctx.tick()
        ctx.set(dut.enable, 0)
        ctx.set(a, 0)
        await ctx.tick().repeat(2)
        for index in range(3):
            ctx.set(dut.index, index)
            await ctx.tick()
            found.append(ctx.get(dut.value))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [
        sum(x for x, _, on in events if on),
        sum(x + y for x, y, on in events if on),
        sum(x for x, _, _ in events),
    ]


def test_a_counter_that_nothing_counts_is_found():
    dut = Counters(("a", "b"))
    dut.count("a", Signal())
    assert dut.missing == {"b"}
    with pytest.raises(ValueError, match="c is no counter"):
        dut.count("c", Signal())
    dut.count("b", Signal())
    assert not dut.missing
    Simulator(dut)  # elaborated, so that nothing is left over


def test_traffic_waits_while_it_owes_beats():
    """Worked: a burst of two asked for in cycle 1, its beats in cycles 4 and 6."""
    dut, waits = Traffic(), []

    async def bench(ctx: Any) -> None:
        for cycle in range(9):
            ctx.set(dut.asked, cycle == 1)
            ctx.set(dut.length, 1)
            ctx.set(dut.read, cycle in (4, 6))
            waits.append(ctx.get(dut.wait))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert waits == [0, 0, 0, 1, 0, 1, 0, 0, 0]
