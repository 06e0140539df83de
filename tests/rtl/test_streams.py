"""Queue, fork, join and selector, under random stalls."""

import re
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.select import Select
from lightmamba.hardware.rtl.streams import Fork, StreamQueue, join
from lightmamba.hardware.rtl.verilog import written

from ..support.streams import drive

WORDS = [int(x) for x in np.random.default_rng(1).integers(0, 256, 40)]


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("depth", [2, 3, 16])
def test_a_queue_keeps_order(depth, stalls):
    run = drive(StreamQueue(8, depth), {"i": WORDS}, {"o": 40}, stalls=stalls, settle=3)
    assert run.out["o"] == WORDS


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize(("bits", "widths"), [(0, [72, 72, 6]), (1152, [144, 6]), (1728, [150])])
def test_a_large_queue_is_several_memories(monkeypatch, bits, widths, stalls):
    """Worked: 150 bits and eight entries; a memory has whole columns of 72 bits."""
    monkeypatch.setattr("lightmamba.hardware.rtl.streams.MEMORY_BITS", bits)
    words = [(w << 142) | (w << 70) | w for w in WORDS]
    queue = StreamQueue(150, 8)
    run = drive(queue, {"i": words}, {"o": 40}, stalls=stalls, settle=3)
    assert run.out["o"] == words
    assert drive(StreamQueue(73, 8), {"i": [1 << 72, 0]}, {"o": 2}).out["o"] == [1 << 72, 0]
    found = re.findall(r"reg \[(\d+):0\] \\?storage\d ", written(StreamQueue(150, 8), "queue"))
    assert sorted((int(high) + 1 for high in found), reverse=True) == widths


class Both(wiring.Component):
    """A queue and that of Amaranth's library, given the same; whether they differ."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__({"i": i_stream(8), "o": o_stream(8), "differ": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ours = ours = StreamQueue(8, self.depth)
        m.submodules.theirs = theirs = SyncFIFOBuffered(width=8, depth=self.depth)
        join(m, self.i, ours.i)
        join(m, ours.o, self.o)
        m.d.comb += [
            theirs.w_en.eq(self.i.valid),
            theirs.w_data.eq(self.i.payload),
            theirs.r_en.eq(self.o.ready),
            self.differ.eq(
                (theirs.w_rdy != ours.i.ready)
                | (theirs.r_rdy != ours.o.valid)
                | (theirs.level != ours.level)
                | (theirs.r_rdy & (theirs.r_data != ours.o.payload))
            ),
        ]
        return m


@pytest.mark.parametrize("depth", [3, 4, 5, 9])
def test_a_queue_moves_in_every_cycle_as_the_one_of_the_library(depth):
    """Half a thousand cycles in which both sides are slow by turns."""
    dut, rng = Both(depth), np.random.default_rng(depth)
    counts: set[tuple[int, int]] = set()

    async def bench(ctx):
        for cycle in range(500):
            fast = (cycle // 25) % 3
            ctx.set(dut.i.valid, int(rng.random() < (0.5, 0.9, 0.2)[fast]))
            ctx.set(dut.o.ready, int(rng.random() < (0.5, 0.2, 0.9)[fast]))
            ctx.set(dut.i.payload, int(rng.integers(256)))
            assert not ctx.get(dut.differ)
            counts.add((ctx.get(dut.i.ready), ctx.get(dut.o.valid)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert counts == {(0, 1), (1, 0), (1, 1)}  # it was full, empty, and neither


def ready(dut: Any, outputs: dict[str, set[int]]) -> list[int]:
    """Cycles, of twenty, in which a constant offer on ``i`` is taken; when each output is ready."""
    taken = []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for cycle in range(20):
            for name, cycles in outputs.items():
                ctx.set(getattr(dut, name).ready, int(cycle in cycles))
            if ctx.get(dut.i.ready):
                taken.append(cycle)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return taken


ALWAYS = set(range(20))


@pytest.mark.parametrize(("depth", "held"), [(5, 5), (3, 3), (1, 3)])
def test_a_queue_holds_its_depth_and_no_more(depth, held):
    """Three at least."""
    assert ready(StreamQueue(8, depth), {}) == list(range(held))
    assert len(ready(StreamQueue(8, depth), {"o": ALWAYS})) == 20


def test_latency_and_throughput_of_a_queue():
    run = drive(StreamQueue(8, 8), {"i": WORDS}, {"o": 40})
    assert run.cycles["o"][0] - run.cycles["i"][0] == StreamQueue.latency
    assert run.cycles["o"][-1] - run.cycles["o"][0] == 39 * StreamQueue.interval


@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_a_fork_gives_everything_to_everyone_once(stalls):
    run = drive(Fork(8, 3), {"i": WORDS}, {"o0": 40, "o1": 40, "o2": 40}, stalls=stalls, settle=3)
    assert run.out["o0"] == run.out["o1"] == run.out["o2"] == WORDS


def test_a_fork_waits_for_the_slowest():
    assert ready(Fork(8, 2), {"o0": ALWAYS}) == []
    assert ready(Fork(8, 2), {"o0": ALWAYS, "o1": ALWAYS}) == list(range(20))


def test_the_outputs_of_a_fork_need_not_meet():
    """Worked: each beat is taken by one output, then by the other, and in cycle 9 by both."""
    assert ready(Fork(8, 2), {"o0": {1, 4, 9}, "o1": {3, 7, 9}}) == [3, 7, 9]


class Joined(wiring.Component):
    """Two queues, one behind the other."""

    def __init__(self) -> None:
        super().__init__({"i": i_stream(8), "o": o_stream(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = StreamQueue(8, 3)
        m.submodules.second = second = StreamQueue(8, 3)
        join(m, first.o, second.i)
        wiring.connect(m, wiring.flipped(self.i), first.i)
        wiring.connect(m, second.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("slow", ["i", "o"])
def test_joined_streams_pass_everything_on(slow):
    run = drive(Joined(), {"i": WORDS}, {"o": 40}, slow={slow: 0.7}, settle=3)
    assert run.out["o"] == WORDS


def test_only_streams_of_one_width_are_joined():
    narrow, wide = (stream.Signature(bits).create() for bits in (8, 9))
    with pytest.raises(ValueError, match="streams of 8 and 9 bits"):
        join(None, narrow, wide)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_selector_passes_the_chosen_input_only(count: int):
    rng = np.random.default_rng(count)
    for choice in range(count):
        given: Any = {f"i{n}": rng.integers(0, 1 << 16, 40).tolist() for n in range(count)}
        ours = f"i{choice}"
        run = drive(Select(unsigned(16), count), {ours: given[ours]}, {"o": 40}, stalls=0.4,
                    seed=choice, hold={"choice": choice}, settle=20)  # fmt: skip
        assert run.out["o"] == given[ours]


def test_the_other_inputs_of_a_selector_wait_and_do_not_mix_in():
    dut = Select(unsigned(8), 2)
    held = {"choice": 1, "i0.valid": 1, "i0.payload": 0xFF}
    run = drive(dut, {"i1": [1, 2, 3]}, {"o": 3}, hold=held, counts=["i0.ready"], settle=10)
    assert (run.out["o"], run.counts["i0.ready"]) == ([1, 2, 3], 0)


def test_a_selector_has_a_transfer_per_cycle_at_once():
    dut = Select(unsigned(8), 2)
    run = drive(dut, {"i0": list(range(20))}, {"o": 20})
    first, last = run.cycles["o"][0], run.cycles["o"][-1]
    assert first - run.cycles["i0"][0] == dut.latency
    assert last - first == 19 * dut.interval
