"""Counters against sums in Python."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Signal
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.counters import Counters

from ..support.axi import refuses


def simulate(dut: Any, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


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
    events.append((1, 127, 1))  # the most that both together can be
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
            await ctx.tick().repeat(2)
            found.append(ctx.get(dut.value))

    simulate(dut, bench)
    assert found == [
        sum(x for x, _, on in events if on),
        sum(x + y for x, y, on in events if on),
        sum(x for x, _, _ in events),
    ]


def test_many_counters_of_48_bits():
    """Worked: counter n adds n of the largest 43-bit numbers; nothing is lost."""
    names, big = tuple(f"c{n}" for n in range(40)), Signal(43)
    dut, found = Counters(names), []
    for n, name in enumerate(names):
        dut.count(name, big * n)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.enable, 1)
        ctx.set(big, (1 << 43) - 1 >> 1)
        await ctx.tick()
        ctx.set(big, 0)
        await ctx.tick()
        for n in range(len(names)):
            ctx.set(dut.index, n)
            await ctx.tick().repeat(2)
            found.append(ctx.get(dut.value))

    simulate(dut, bench)
    assert found == [n * ((1 << 43) - 1 >> 1) for n in range(40)]


def test_latency():
    """An event in cycle 0 is in its counter in cycle 2, and in ``value`` in cycle 4."""
    event, seen = Signal(), []
    dut = Counters(("none", "one"))
    dut.count("none", Const(0))
    dut.count("one", event)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.enable, 1)
        ctx.set(dut.index, 1)
        for cycle in range(7):
            ctx.set(event, cycle == 0)
            seen.append(ctx.get(dut.value))
            await ctx.tick()
        ctx.set(dut.index, 0)
        for _ in range(3):
            seen.append(ctx.get(dut.value))
            await ctx.tick()

    simulate(dut, bench)
    assert seen == [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]


def test_a_carry_comes_a_cycle_later():
    """Worked: a lower half full of ones and one more event, in cycle 2."""
    event, seen, most = Signal(24), [], (1 << 24) - 1
    dut = Counters(("one",))
    dut.count("one", event)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.enable, 1)
        for cycle in range(9):
            ctx.set(event, {0: most, 2: 1}.get(cycle, 0))
            seen.append(ctx.get(dut.value))
            await ctx.tick()

    simulate(dut, bench)
    assert seen == [0, 0, 0, 0, most, most, 0, most + 1, most + 1]


def test_a_counter_that_nothing_counts_is_found():
    dut = Counters(("a", "b"))
    dut.count("a", Signal())
    assert dut.missing == {"b"}
    with pytest.raises(ValueError, match="c is no counter"):
        dut.count("c", Signal())
    refuses(lambda: Simulator(dut), r"nothing counts \['b'\]")
    dut.count("b", Signal())
    assert not dut.missing
    Simulator(dut)
