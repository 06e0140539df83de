"""Hidden values times the weight of their block: equal to ``numerics.routing.weighted``."""

import functools
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.experts.weigh import Weigh
from lightmamba.numerics.routing import ONE, weighted
from tests.support.numbers import spread
from tests.support.streams import Bench, Run

LOW, HIGH = -(1 << 23), (1 << 23) - 1
Job = tuple[list[int], int]  # hidden values, and their weight


@functools.cache
def bench() -> Bench:
    """The unit, compiled once."""
    return Bench(Weigh(ArchConfig(kinds=("experts",), added_channels=128)))


def run(jobs: list[Job], **options: Any) -> Run:
    """Drive jobs, and compare what comes out."""
    wanted = [
        value
        for hidden, weight in jobs
        for value in weighted(np.array(hidden), np.array(weight)).tolist()
    ]
    got = bench().drive(
        {
            "command": [{"count": len(hidden)} for hidden, _ in jobs],
            "i": [value for hidden, _ in jobs for value in hidden],
            "i_weight": [weight for _, weight in jobs],
        },
        {"o": len(wanted)},
        counts=["busy"], settle=10, **options,
    )  # fmt: skip
    assert got.out["o"] == wanted
    return got


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.3), (2, 0.7)])
def test_equals_numerics(seed, stalls):
    """Jobs of one channel and of many, with any weight from 0 to 1."""
    rng, jobs = np.random.default_rng(seed), list[Job]()
    for _ in range(20):
        count = int(rng.choice([1, 2, int(rng.integers(3, 40))]))
        weight = int(rng.choice([0, 1, ONE - 1, ONE, int(rng.integers(ONE))]))
        jobs.append((spread(rng, 24, count).tolist(), weight))
    run(jobs, stalls=stalls, seed=seed)


def test_worked_values():
    """A weight of one changes nothing, of zero leaves nothing; halves are rounded up."""
    ends = [LOW, HIGH, 1, -1, 0]
    half = ONE >> 1
    got = run([(ends, ONE), (ends, 0), ([1, -1, 3, -3, LOW], half), ([LOW, HIGH], ONE - 1)])
    assert got.out["o"] == [*ends, 0, 0, 0, 0, 0, 1, 0, 2, -1, LOW // 2, 256 + LOW, HIGH - 256]


def test_latency_and_throughput():
    """A channel in every cycle, over a job that is long."""
    got = run([(list(range(100)), 12345)])
    assert got.cycles["o"] == [cycle + Weigh.latency for cycle in got.cycles["i"]]
    assert np.diff(got.cycles["i"]).tolist() == [Weigh.interval] * 99
    assert machine(("experts",)).unit("weigh").latency == Weigh.latency


def test_a_job_waits_for_its_weight():
    """Nothing is issued before; a weight that is early waits for its job."""
    jobs = [([5, 6, 7], 100), ([8], 200), ([9, 10], 300)]
    got = run(jobs, late={"i_weight": 50})
    assert got.cycles["i"][0] == got.cycles["i_weight"][0] + 1 > 50
    early = run(jobs, late={"i": 50})
    assert early.cycles["i_weight"][0] < 50 < early.cycles["i_weight"][1]


def test_a_job_takes_one_weight():
    """The next one stays where it is until the next command, however long the job takes."""
    got = run([([3] * 30, ONE), ([4] * 30, 7), ([5], ONE)], slow={"i": 0.8})
    for n in (1, 2):
        assert got.cycles["command"][n] < got.cycles["i_weight"][n]
        assert got.cycles["i_weight"][n] > got.cycles["o"][30 * n - 1]


@pytest.mark.parametrize("slow", ["o", "i"])
def test_it_is_busy_until_the_last_is_taken(slow):
    got = run([(list(range(20)), ONE)], slow={slow: 0.9})
    assert got.counts["busy"] == got.cycles["o"][-1] - got.cycles["command"][0] + 2
