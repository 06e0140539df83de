"""Queue and fork, under random stalls."""

import numpy as np
import pytest
from amaranth.lib import stream
from amaranth.sim import Simulator

from lightmamba.rtl.streams import Fork, StreamQueue, join

from ..support.streams import drive

WORDS = [int(x) for x in np.random.default_rng(1).integers(0, 256, 40)]


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("depth", [2, 3, 16])
def test_a_queue_keeps_order(depth, stalls):
    run = drive(StreamQueue(8, depth), {"i": WORDS}, {"o": 40}, stalls=stalls, settle=3)
    assert run.out["o"] == WORDS


def taken(dut, ready):
    """Transfers on ``i`` in twenty cycles of constant valid, with these outputs ready."""
    count = 0

    async def bench(ctx):
        nonlocal count
        ctx.set(dut.i.valid, 1)
        for name in ready:
            ctx.set(getattr(dut, name).ready, 1)
        for _ in range(20):
            count += ctx.get(dut.i.ready)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return count


def test_a_queue_holds_its_depth_and_no_more():
    assert taken(StreamQueue(8, 5), ()) == 5
    assert taken(StreamQueue(8, 5), ("o",)) == 20


def test_latency_and_throughput_of_a_queue():
    run = drive(StreamQueue(8, 8), {"i": WORDS}, {"o": 40})
    assert run.cycles["o"][0] - run.cycles["i"][0] == StreamQueue.latency
    assert run.cycles["o"][-1] - run.cycles["o"][0] == 39 * StreamQueue.interval


@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_a_fork_gives_everything_to_everyone_once(stalls):
    run = drive(Fork(8, 3), {"i": WORDS}, {"o0": 40, "o1": 40, "o2": 40}, stalls=stalls, settle=3)
    assert run.out["o0"] == run.out["o1"] == run.out["o2"] == WORDS


def test_a_fork_waits_for_the_slowest():
    assert taken(Fork(8, 2), ("o0",)) == 0
    assert taken(Fork(8, 2), ("o0", "o1")) == 20


def test_only_streams_of_one_width_are_joined():
    narrow, wide = (stream.Signature(bits).create() for bits in (8, 9))
    with pytest.raises(ValueError, match="streams of 8 and 9 bits"):
        join(None, narrow, wide)
