"""Rows of a table at run time: addresses of indices, and what a stop leaves behind."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.memory.table import TableWalk
from tests.support.streams import drive

BASE, STRIDE, WORDS = 0xFF_1234_5000, 0x1_0480, 0x90
HELD = {"run": 1, "base": BASE, "stride": STRIDE, "count": WORDS}


def command(index: int, base: int = BASE, stride: int = STRIDE) -> dict[str, int]:
    address = (base + index * stride) % (1 << ADDRESS_BITS)
    return {"address": address, "count": WORDS, "zero": 0}


@pytest.mark.parametrize("seed", range(4))
def test_each_index_asks_for_its_row_under_stalls(seed):
    rng = np.random.default_rng(seed)
    base, stride = int(rng.integers(1 << 43)), int(rng.integers(1 << 32))
    indices = rng.integers(0, 1 << 24, 60).tolist()
    held = HELD | {"base": base, "stride": stride}
    run = drive(TableWalk(24), {"i": indices}, {"o": 60}, stalls=0.3 * (seed % 2), seed=seed,
                hold=held, settle=20)  # fmt: skip
    assert run.out["o"] == [command(index, base, stride) for index in indices]


def test_worked_values():
    run = drive(TableWalk(24), {"i": [0, 1, 3]}, {"o": 3}, hold=HELD)
    assert [each["address"] for each in run.out["o"]] == [BASE, BASE + STRIDE, BASE + 3 * STRIDE]


def test_latency_and_throughput():
    run = drive(TableWalk(24), {"i": list(range(50))}, {"o": 50}, hold=HELD)
    assert TableWalk.latency == 5
    assert [o - i for i, o in zip(run.cycles["i"], run.cycles["o"], strict=True)] == [5] * 50
    assert run.cycles["o"][-1] - run.cycles["o"][0] == 49


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_takes_no_more_indices_and_is_over_when_commands_are(seed):
    """``run`` falls at random; what was taken comes out, and ``busy`` lasts until it has."""
    rng, walk = np.random.default_rng(seed), TableWalk(24)
    taken, given = list[int](), list[int]()

    async def bench(ctx):
        for name, value in HELD.items():
            ctx.set(getattr(walk, name), value)
        run = 1
        for n in range(400):
            run = run if rng.random() < 0.9 else 1 - run
            index = int(rng.integers(1 << 24))
            ctx.set(walk.run, run)
            ctx.set(walk.i.valid, 1)
            ctx.set(walk.i.payload, index)
            ctx.set(walk.o.ready, int(rng.random() < 0.5 or n > 380))
            entered, left = ctx.get(walk.i.ready), ctx.get(walk.o.valid & walk.o.ready)
            assert not (entered and not run)
            address = int(ctx.get(walk.o.payload.address))
            assert ctx.get(walk.busy) == (len(taken) > len(given))
            await ctx.tick()
            taken.extend([index] * entered)
            given.extend([address] * left)

    simulator = Simulator(walk)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(given) > 100
    assert given == [command(index)["address"] for index in taken[: len(given)]]
