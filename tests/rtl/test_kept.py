"""Sums of out_proj that stay, and those of later vectors added to them: plain integer sums."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.kept import KeptSums
from tests.support.numbers import spread

LEAST = 5  # cycles from the last sums of a job to the first of the next
ODD = ArchConfig(kinds=("experts",), lanes=3, in_channels=128, added_channels=128)  # 43 slots
FEW = ArchConfig(kinds=("experts",), lanes=32, in_channels=128, added_channels=128)  # four
TOP = 1 << (ODD.acc_bits - 1)
Sums = list[int]


@dataclass
class Job:
    """Sums of each slot, where they go, and the chance of an idle cycle before each of them."""

    sums: list[Sums]
    out: int = 1
    keep: int = 0
    stalls: float = 0.0


def expected(jobs: list[Job]) -> list[Sums]:
    """Sums that leave: of out_proj since the last ones that left, and of other matrices."""
    kept: Any = 0
    found: list[Sums] = []
    for job in jobs:
        total = np.array(job.sums) + (kept if job.out else 0)
        if job.out:
            kept = total if job.keep else 0
        if not job.keep:
            found += total.tolist()
    return found


def run(config: ArchConfig, jobs: list[Job], *, apart: int = LEAST, seed: int = 0) -> list[int]:
    """Give the sums of jobs ``apart`` cycles from each other, noise in between.

    What leaves is checked; cycles from the first sums to each that leaves.
    """
    dut, rng = KeptSums(config), np.random.default_rng(seed)
    width = config.lanes * config.tokens
    left: list[Sums] = []
    cycles: list[int] = []

    async def idle(ctx: Any, count: int) -> None:
        for _ in range(count):
            ctx.set(dut.valid, 0)
            for name in ("out", "keep", "final"):
                ctx.set(getattr(dut, name), int(rng.integers(2)))
            ctx.set(dut.sums, spread(rng, config.acc_bits, width).tolist())
            await ctx.tick()

    async def feed(ctx: Any) -> None:
        await idle(ctx, 3)
        for job in jobs:
            for n, sums in enumerate(job.sums):
                while rng.random() < job.stalls:
                    await idle(ctx, 1)
                ctx.set(dut.valid, 1)
                ctx.set(dut.out, job.out)
                ctx.set(dut.keep, job.keep)
                ctx.set(dut.final, int(n == len(job.sums) - 1))
                ctx.set(dut.sums, sums)
                await ctx.tick()
            await idle(ctx, apart - 1)
        await idle(ctx, 10)

    async def watch(ctx: Any) -> None:
        cycle = -3
        async for _, _, emits, o in ctx.tick().sample(dut.emits, dut.o):
            if emits:
                left.append(list(o))
                cycles.append(cycle)
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_process(watch)
    simulator.run()
    assert left == expected(jobs)
    return cycles


def draw(config: ArchConfig, rng: np.random.Generator, slots: int, **given: Any) -> Job:
    """Random sums, of which eight of a slot fit together."""
    width = config.lanes * config.tokens
    return Job(spread(rng, config.acc_bits - 3, (slots, width)).tolist(), **given)


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.5)])
@pytest.mark.parametrize("config", [ODD, FEW], ids=["odd", "few"])
def test_sums_of_jobs_are_added(config, seed, stalls):
    """Layers of one to eight blocks and of one slot to the most; other jobs anywhere between."""
    rng, jobs = np.random.default_rng(seed), list[Job]()
    most = -(-config.in_channels // config.lanes)
    for blocks in (1, 2, 8, 3, 1, 1):
        slots = int(rng.choice([1, 2, most, rng.integers(1, most, endpoint=True)]))
        for block in range(blocks):
            if rng.integers(2):
                others = int(rng.choice([1, 5, 2 * most + 3]))
                jobs.append(draw(config, rng, others, out=0, stalls=stalls))
            keep = int(block < blocks - 1)
            jobs.append(draw(config, rng, slots, keep=keep, stalls=stalls))
    run(config, jobs, seed=seed)


@pytest.mark.parametrize("slots", [1, 2, 43])
def test_sums_in_every_cycle_and_jobs_at_the_least_distance(slots):
    """Each total leaves ``latency`` cycles after the last of its sums."""
    rng, blocks = np.random.default_rng(slots), 4
    jobs = [draw(ODD, rng, slots, keep=int(n < blocks - 1)) for n in range(blocks)]
    cycles = run(ODD, jobs)
    last = (blocks - 1) * (slots - 1 + LEAST)
    assert cycles == [last + n + KeptSums.latency for n in range(slots)]


def test_jobs_at_any_distance():
    rng = np.random.default_rng(3)
    for apart in (5, 6, 9):
        run(ODD, [draw(ODD, rng, 3, keep=keep) for keep in (1, 1, 0, 1, 0)], apart=apart)


def test_jobs_of_other_matrices_at_once():
    """They neither wait for each other nor add: sums in every cycle, over their end."""
    rng = np.random.default_rng(4)
    jobs = [draw(ODD, rng, slots, out=0) for slots in (1, 5, 1, 50)]
    cycles = run(ODD, jobs, apart=1)
    assert cycles == [n + KeptSums.latency for n in range(57)]


def test_totals_reach_the_ends():
    """The largest sums of either sign, by halves, by steps, and from one end to the other."""
    ends = [
        [[-TOP // 2, -TOP // 2], [-TOP, 0], [TOP - 1, -TOP], [0, TOP - 1]],
        [[TOP // 2, TOP // 2 - 1], [0, -TOP], [-TOP, TOP - 1], [-1, 1 - TOP]],
        [[1, -1], [0, 0], [TOP - 1, 0], [-TOP, TOP - 1]],
    ]
    jobs = [
        Job([[lane[place][keep] for lane in ends] for place in range(4)], keep=1 - keep)
        for keep in (0, 1)
    ]
    run(ODD, jobs)


def test_nothing_is_left_behind_what_was_emitted():
    """Neither for the next layer nor for one without blocks; only out_proj takes what is kept."""
    one, two = [[1, 2, 3]], [[10, 20, 30]]
    jobs = [
        Job(one, keep=1), Job(one, out=0), Job(two), Job(two), Job(one, out=0),
        Job(one, keep=1), Job(one, keep=1), Job(two, keep=0), Job(one),
    ]  # fmt: skip
    assert expected(jobs) == [
        [1, 2, 3], [11, 22, 33], [10, 20, 30], [1, 2, 3], [12, 24, 36], [1, 2, 3]
    ]  # fmt: skip
    run(ODD, jobs)
