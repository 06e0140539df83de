"""Feed-forward pipelines, and the queue at their end."""

import numpy as np
import pytest
from amaranth.hdl import Signal, unsigned
from amaranth.sim import Simulator
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl.pipe import any_bit, select
from tests.support.pipelines import Piped
from tests.support.streams import drive


def through(dut, beats, *, stalls=0.0):
    """Outputs by name, of beats that are dictionaries."""
    run = drive(dut, {"i": beats}, {"o": len(beats)}, stalls=stalls, settle=8)
    return {name: np.array([o[name] for o in run.out["o"]]) for name in run.out["o"][0]}


def test_any_bit():
    dut = Piped({"x": unsigned(5)}, lambda pipe, x: {"y": pipe.comb(any_bit, x)})
    got = through(dut, [{"x": v} for v in range(32)])
    assert_array_equal(got["y"], np.arange(32) != 0)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_select(count):
    def build(pipe, x):
        values = [Signal(8, init=10 * n + 1) for n in range(count)]
        return {"y": pipe.comb(lambda v: select(pipe.m, v, values), x)}

    dut = Piped({"x": unsigned(3)}, build)
    got = through(dut, [{"x": v} for v in range(count)])
    assert_array_equal(got["y"], [10 * n + 1 for n in range(count)])


def test_a_pipe_delays_and_aligns():
    def build(pipe, a, b):
        late = pipe.delay(a, 3)
        early = pipe.step(lambda v: v + 1, b)
        assert (late.stage, early.stage) == (3, 1)
        assert pipe.delay(a, 3).value is late.value  # registers are shared
        assert pipe.delay(a, 0).value is a.value
        with pytest.raises(ValueError, match="cycle 3 cannot be had at cycle 2"):
            pipe.delay(late, 2)
        together = pipe.align(early, late)
        assert [t.stage for t in together] == [3, 3]
        assert (len(late), len(early)) == (8, 9)
        total = pipe.step(lambda x, y: x + y, late, early, shape=unsigned(4))
        assert total.stage == 4
        return {"sum": total, "a": a}

    dut = Piped({"a": unsigned(8), "b": unsigned(8)}, build)
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 60))
    got = through(dut, [{"a": int(x), "b": int(y)} for x, y in zip(a, b, strict=True)], stalls=0.4)
    assert_array_equal(got["sum"], (a + b + 1) % 16)
    assert_array_equal(got["a"], a)


SETTLE = pytest.mark.parametrize("settle", [False, True])


@SETTLE
@pytest.mark.parametrize("stage", [0, 1, 5])
def test_a_queue_keeps_up(stage, settle):
    """One beat per cycle, the result two cycles after the pipeline, busy until it is taken."""
    dut = Piped({"x": unsigned(8)}, lambda pipe, x: {"x": pipe.delay(x, stage)}, settle=settle)
    beats = [{"x": v} for v in range(40)]
    run = drive(dut, {"i": beats}, {"o": 40}, counts=["busy"], settle=10)
    i, o = np.array(run.cycles["i"]), np.array(run.cycles["o"])
    assert run.out["o"] == beats
    assert_array_equal(o - i, stage + 2)
    assert_array_equal(np.diff(i), 1)
    assert run.counts["busy"] == o[-1] - i[0] + settle


@SETTLE
@pytest.mark.parametrize("extra", [0, 3])
def test_a_full_queue_issues_nothing(extra, settle):
    """A stuck output takes exactly as many beats as the queue is deep, and loses none."""
    dut = Piped(
        {"x": unsigned(8)}, lambda pipe, x: {"x": pipe.delay(x, 2)}, extra=extra, settle=settle
    )
    taken = []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(30):
            taken.append(ctx.get(dut.i.ready))
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        for _ in range(30):
            taken.append(-ctx.get(dut.o.valid))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    depth = 6 + settle + extra
    assert taken[:30] == [1] * depth + [0] * (30 - depth)
    assert sum(taken) == 0


@SETTLE
@pytest.mark.parametrize("stalls", [0.3, 0.8])
def test_stalls_lose_nothing(stalls, settle):
    dut = Piped({"x": unsigned(8)}, lambda pipe, x: {"x": pipe.delay(x, 2)}, settle=settle)
    beats = [{"x": v} for v in range(100)]
    assert drive(dut, {"i": beats}, {"o": 100}, stalls=stalls, settle=5).out["o"] == beats
