"""The reciprocal root of sums of squares."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.blocks.layer import unit_rms
from lightmamba.hardware.rtl.rms import RmsUnit, UnitRms
from lightmamba.numerics.tables import Rsqrt
from tests.support.streams import drive

TOP = (1 << 61) - 1
EPS = 1 << 60
EDGES = [
    0,
    1,
    2,
    3,
    TOP - 1,
    TOP,
    *(v for k in range(1, 31) for v in ((1 << 2 * k) - 1, 1 << 2 * k)),
]


def sums(rng, count):
    """Of every size, and the ends of the range and of the steps of j."""
    wide = [int(v) >> int(k) for v, k in zip(
        rng.integers(0, TOP, count, endpoint=True), rng.integers(0, 61, count), strict=True
    )]  # fmt: skip
    return [EDGES[rng.integers(len(EDGES))] if rng.random() < 0.4 else v for v in wide]


def run(jobs, **options):
    """Results of jobs (eps, sums), and the run."""
    commands = [{"count": len(values), "eps": eps} for eps, values in jobs]
    given = [v for _, values in jobs for v in values]
    result = drive(
        RmsUnit(), {"command": commands, "i": given}, {"o": len(given)}, settle=20, **options
    )
    return [(o["mantissa"], o["j"]) for o in result.out["o"]], result


def expected(jobs):
    total = np.array([v + eps for eps, values in jobs for v in values])
    return list(zip(*(part.tolist() for part in Rsqrt()(total)), strict=True))


@pytest.mark.parametrize(("seed", "stalls"), [(1, 0.0), (2, 0.3), (3, 0.7)])
def test_equals_numerics(seed, stalls):
    rng = np.random.default_rng(seed)
    choices = [1, 2, EPS - 1, EPS, 1 << 31, (1 << 31) - 1, 12345678901]
    jobs = [
        (int(rng.choice(choices)) >> int(rng.integers(0, 2) * rng.integers(0, 60)) or 1,
         sums(rng, int(rng.integers(1, 16))))
        for _ in range(25)
    ]  # fmt: skip
    assert run(jobs, stalls=stalls, seed=seed)[0] == expected(jobs)


def test_every_power_of_four():
    """Every j, and both sides of each border; eps carries from the lower half to the upper."""
    jobs = [(1, EDGES[n : n + 15]) for n in range(0, len(EDGES), 15)]
    jobs += [(1 << 31, [(1 << 31) - 1, 1 << 31, TOP]), ((1 << 31) - 1, [1, (1 << 31) + 1])]
    assert run(jobs)[0] == expected(jobs)


def test_worked_values():
    """1/1, 1/2, 1/3, 1/2^30 as m·2^(-23-j); one is 65535/65536."""
    got, _ = run([(1, [0, 3, 8, (1 << 60) - 1]), (9, [0])])
    assert got == [(65535, -7), (65535, -6), (43691, -6), (65535, 23), (43691, -6)]


def test_latency_and_throughput():
    _, result = run([(1, list(range(15)))])
    i, o = np.array(result.cycles["i"]), np.array(result.cycles["o"])
    assert_array_equal(o - i, RmsUnit.latency)
    assert_array_equal(np.diff(o), RmsUnit.interval)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_busy_from_the_command_to_the_last_result(stalls):
    _, result = run([(1, [1, 2, 3])], counts=["busy"], stalls=stalls)
    first, last = result.cycles["command"][0], result.cycles["o"][-1]
    assert result.counts["busy"] >= last - first + 2
    if not stalls:
        assert result.counts["busy"] == last - first + 2


def test_one_job_after_the_other():
    """A command is taken when the results of the last one are gone; then its own eps counts."""
    jobs = [(1, [4, 5]), (1 << 40, [4, 5, 6]), (1, [0])]
    got, result = run(jobs)
    assert got == expected(jobs)
    _, second, third = result.cycles["command"]
    assert second > result.cycles["o"][1]
    assert third > result.cycles["o"][4]


def test_the_constant_is_one_and_always_there():
    run = drive(UnitRms(), {}, {"o": 20}, stalls=0.3)
    mantissa, j = unit_rms(1)
    assert run.out["o"] == [{"mantissa": int(mantissa[0, 0]), "j": int(j[0, 0])}] * 20
    at_once = drive(UnitRms(), {}, {"o": 20}).cycles["o"]
    assert at_once == list(range(at_once[0], at_once[0] + 20))
