"""Elements that wait for the number of their block."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.held import BlockQueue
from lightmamba.hardware.rtl.layouts import i_stream, o_stream

from ..support.streams import Run, drive

DEPTH = 16
ELEMENT = data.StructLayout({"value": 8, "last": 1})
HELD = data.StructLayout({"value": 8, "number": 9})


class Largest(wiring.Component):
    """Give every element of a block with one more than the block's largest.

    The number is found ``late`` cycles after the last element of its block came.
    """

    def __init__(self, late: int = 0, depth: int = DEPTH) -> None:
        self.late, self.depth = late, depth
        super().__init__({"i": i_stream(ELEMENT), "o": o_stream(HELD)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = BlockQueue(m, bits=8, number_bits=9, depth=self.depth)
        element, largest, before = self.i.payload, Signal(8), Signal(8)
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(held.room),
            taken.eq(self.i.valid & held.room),
            largest.eq(Mux(element.value > before, element.value, before)),
        ]
        with m.If(taken):
            m.d.sync += before.eq(Mux(element.last, 0, largest))
        found, number = taken & element.last, largest + 1
        for _ in range(self.late):
            found, number = _later(m, found), _later(m, number)
        held.put(taken, element.value, element.last)
        held.find(found, number)
        held.take(self.o.valid & self.o.ready)
        m.d.comb += [
            self.o.valid.eq(held.ready),
            self.o.payload.value.eq(held.element),
            self.o.payload.number.eq(held.number),
        ]
        return m


def _later(m: Module, value: Any) -> Signal:
    register = Signal(value.shape())
    m.d.sync += register.eq(value)
    return register


def blocks(seed: int, lengths: list[int]) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[int(v) for v in rng.integers(0, rng.integers(2, 257), n)] for n in lengths]


def simulate(dut: Largest, values: list[list[int]], **options: Any) -> Run:
    """Blocks in, compared with what must come out."""
    elements = [
        {"value": v, "last": int(n == len(block) - 1)}
        for block in values
        for n, v in enumerate(block)
    ]
    wanted = [{"value": v, "number": max(block) + 1} for block in values for v in block]
    run = drive(dut, {"i": elements}, {"o": len(elements)}, settle=8, **options)
    assert run.out["o"] == wanted
    return run


@pytest.mark.parametrize("late", [0, 1, 7])
@pytest.mark.parametrize(("stalls", "seed"), [(0.0, 1), (0.4, 2), (0.7, 3)])
def test_every_element_comes_with_the_number_of_its_block(late, stalls, seed):
    """Blocks of every length that fits, in any order: the longest one leaves a single place."""
    rng = np.random.default_rng(seed)
    lengths = [1, 1, 1, DEPTH - 1, 1, 2, *(int(n) for n in rng.integers(1, DEPTH, 12))]
    simulate(Largest(late), blocks(seed, lengths), stalls=stalls, seed=seed)


@pytest.mark.parametrize("length", [1, 3, DEPTH - 1])
def test_a_slow_output_loses_nothing(length):
    """Blocks of one element need as many places for numbers as for elements."""
    simulate(Largest(2), blocks(5, [length] * (60 // length)), slow={"o": 0.8})


def test_worked_values():
    """By hand: 255 is the largest of the first block, 0 that of the last."""
    run = simulate(Largest(), [[3, 255, 7], [0, 9], [0]])
    assert [(o["value"], o["number"]) for o in run.out["o"]] == [
        (3, 256), (255, 256), (7, 256), (0, 10), (9, 10), (0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("length", [1, 4])
def test_it_holds_its_depth_and_no_more(length):
    dut, taken = Largest(), 0

    async def bench(ctx: Any) -> None:
        nonlocal taken
        ctx.set(dut.i.valid, 1)
        for _ in range(3 * DEPTH):
            ctx.set(dut.i.payload, {"value": taken, "last": int(taken % length == length - 1)})
            taken += ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        for n in range(DEPTH):
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload.value) == n
            assert ctx.get(dut.o.payload.number) == n // length * length + length
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert taken == DEPTH


@pytest.mark.parametrize("late", [0, 3])
def test_latency(late):
    run = simulate(Largest(late), [[1, 2, 3]])
    assert run.cycles["o"][0] - run.cycles["i"][2] == late + BlockQueue.latency


@pytest.mark.parametrize(("depth", "block"), [(16, 8), (64, 32), (12, 4)])
def test_throughput(depth, block):
    """One element per cycle, if numbers are found as late as the docstring allows."""
    run = simulate(Largest(depth - block - 2, depth), blocks(7, [block] * 6))
    for cycles in run.cycles.values():
        np.testing.assert_array_equal(np.diff(cycles), 1)
