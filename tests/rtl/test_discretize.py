"""dt and the decay of every head."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl.mamba2.discretize import Discretizer
from lightmamba.numerics.ssm import Discretize
from tests.support.streams import drive

OP = Discretize()
FIELDS = ("dt", "shift", "decay", "D")


def word(bias, A, A_shift, D):
    """Parameters of one head."""
    return bias & 0xFFFF | A << 16 | (A_shift & 0xFF) << 32 | (D & 0xFFFF) << 40


def job(rng, count, limits=None):
    """Limits, then rows, biases, A, A_shift and D of ``count`` heads, extremes among them."""

    def some(low, high):
        values = rng.integers(low, high, count, endpoint=True)
        edge = rng.random(count)
        return np.where(edge < 0.1, low, np.where(edge > 0.9, high, values))

    A_shift = np.where(rng.random(count) < 0.8, some(-17, 47), some(-128, 127))
    return (
        limits or tuple(sorted(int(v) for v in some(-32768, 32767)[:2])),
        some(-32768, 32767), some(-32768, 32767), some(0, 32767), A_shift, some(-32768, 32767),
    )  # fmt: skip


def run(jobs, **options):
    """Results, one row per head; the run."""
    commands = [{"count": len(dt), "low": low, "high": high} for (low, high), dt, *_ in jobs]
    rows = [int(v) for _, dt, *_ in jobs for v in dt]
    words = [
        word(*map(int, p)) for *_, bias, A, s, D in jobs for p in zip(bias, A, s, D, strict=True)
    ]
    result = drive(
        Discretizer(), {"command": commands, "i": rows, "i_param": words}, {"o": len(rows)},
        counts=["lost", "busy"], settle=40, **options,
    )  # fmt: skip
    return [tuple(o[f] for f in FIELDS) for o in result.out["o"]], result


def expected(jobs):
    heads: list[tuple[int, ...]] = []
    lost = 0
    for limits, dt, bias, A, A_shift, D in jobs:
        mantissa, shift, decay, over = OP(dt, bias, limits, A, A_shift)
        heads += zip(mantissa.tolist(), shift.tolist(), decay.tolist(), D.tolist(), strict=True)
        lost += over
    return heads, lost


def one(dt, bias, A, A_shift, D=0, limits=(-32768, 32767)):
    """A job of one head."""
    return (limits, *(np.array([v]) for v in (dt, bias, A, A_shift, D)))


@pytest.mark.parametrize(("seed", "stalls"), [(1, 0.0), (2, 0.3), (3, 0.7)])
def test_equals_numerics(seed, stalls):
    rng = np.random.default_rng(seed)
    jobs = [job(rng, int(n)) for n in rng.integers(2, 60, 8)]
    jobs += [job(rng, 40, limits=(-32768, 32767)) for _ in range(3)]
    got, result = run(jobs, stalls=stalls, seed=seed)
    wanted, lost = expected(jobs)
    assert got == wanted
    assert result.counts["lost"] == lost > 0


def test_every_exponent():
    """A decay of every size: t from far below a unit to beyond the top."""
    jobs = [one(x, 0, A, s) for x in (0, -9000) for A in (1, 23456) for s in range(-17, 48, 3)]
    assert run(jobs)[0] == expected(jobs)[0]


def test_worked_values():
    """softplus(0) = ln 2 is 45426·2^-16; |A|·log2 e of 1, of 0, and as large as it gets."""
    got, result = run(
        [
            one(0, 0, 1 << 14, 14, D=-5),
            one(-300, 300, 0, 0, D=32767),
            one(0, 0, 32767, -17, D=-32768),
            one(32767, 1, 0, 0),  # 16 - 2^-11 and one more: saturates
            one(-32768, -1, 0, 0, limits=(0, 100)),  # limited to 0 from below
            one(3000, 0, 0, 0, limits=(-100, 0)),  # and from above
        ]
    )
    assert [g[:2] for g in got] == [(45426, 16)] * 3 + [(32767, 11)] + [(45426, 16)] * 2
    assert abs(got[0][2] - 2 ** (24 - 45426 / 65536)) < 3
    assert [g[2] for g in got[1:3]] == [(1 << 24) - 1, 0]
    assert [g[3] for g in got[:3]] == [-5, 32767, -32768]
    assert result.counts["lost"] == 2


def test_latency_and_throughput():
    _, result = run([job(np.random.default_rng(5), 80)])
    i, o = np.array(result.cycles["i"]), np.array(result.cycles["o"])
    assert_array_equal(result.cycles["i_param"], i)
    assert_array_equal(o - i, Discretizer.latency)
    assert_array_equal(np.diff(o), Discretizer.interval)
    assert result.counts["busy"] == o[-1] - result.cycles["command"][0] + 2


def test_a_slow_output_holds_rows_back():
    """More heads than the queue holds, which come faster than they go."""
    jobs = [job(np.random.default_rng(7), 80)]
    assert run(jobs, slow={"o": 0.8})[0] == expected(jobs)[0]


def test_one_job_after_the_other():
    """A command is taken when the results of the last one are gone."""
    rng = np.random.default_rng(6)
    jobs = [job(rng, 3), job(rng, 2)]
    got, result = run(jobs)
    assert got == expected(jobs)[0]
    assert result.cycles["command"][1] > result.cycles["o"][2]
