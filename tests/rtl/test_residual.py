"""The residual stream: equal to the engine's addition, its squares to ``RmsNorm``'s."""

import numpy as np
import pytest

from lightmamba.hardware.rtl.residual import Residual
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.formats import INT32
from lightmamba.numerics.linear import RmsNorm
from lightmamba.numerics.primitives import round_shift
from tests.support.numbers import spread
from tests.support.streams import drive

NORM = RmsNorm()
CHANNELS = 24


def fields(count, add, emit):
    return {"count": count, "add": add, "emit": emit}


def run(jobs, channels=CHANNELS, **options):
    """Drive (command, rows) jobs; what came out, and what the engine's arithmetic says."""
    stream = np.zeros(channels, dtype=np.int64)
    inputs = {"command": [c for c, _ in jobs], "i_embed": [], "i_row": []}
    shown, out, sums, lost = [], [], [], 0
    for command, rows in jobs:
        rows, part = np.asarray(rows), slice(0, command["count"])
        inputs["i_row" if command["add"] else "i_embed"] += rows.tolist()
        total = stream[part] + rows if command["add"] else rows
        lost += INT32.overflows(total)
        stream[part] = INT32(total)
        shown += stream[part].tolist()
        if command["emit"]:
            out += stream[part].tolist()
            sums.append(int((NORM.square(round_shift(stream[part], RMS_SHIFT)) ** 2).sum()))
    got = drive(
        Residual(channels), inputs, {"o": len(out), "o_sum": len(sums)},
        counts=("lost", "busy"), probes=("probe",), **options,
    )  # fmt: skip
    return got, shown, out, sums, lost


def check(got, shown, out, sums, lost):
    np.testing.assert_array_equal([p["value"] for p in got.out["probe"]], shown)
    np.testing.assert_array_equal(got.out["o"], out)
    np.testing.assert_array_equal(got.out["o_sum"], sums)
    assert got.counts["lost"] == lost


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.3), (2, 0.6)])
def test_equals_engine(seed, stalls):
    """Set, add, add silently, in any order and of any count, as a token with its layers does."""
    rng = np.random.default_rng(seed)
    jobs = [(fields(CHANNELS, 0, 1), spread(rng, 32, CHANNELS))]
    for _ in range(16):
        count = int(rng.choice([1, 2, 3, 7, CHANNELS - 1, CHANNELS]))
        add, emit = int(rng.random() < 0.7), int(rng.random() < 0.6)
        jobs.append((fields(count, add, emit), spread(rng, 36 if add else 32, count)))
    found = run(jobs, stalls=stalls, seed=seed, settle=30)
    check(*found)
    assert found[-1] > 0


@pytest.mark.parametrize("slow", ["o", "o_sum"])
def test_slow_outputs(slow):
    """One output that is hardly ever taken stops the unit, and nothing is lost."""
    rng = np.random.default_rng(7)
    jobs = [(fields(CHANNELS, 0, 1), spread(rng, 32, CHANNELS))]
    jobs += [(fields(n, 1, 1), spread(rng, 36, n)) for n in (CHANNELS, 1, 1, 2, 1)]
    check(*run(jobs, slow={slow: 0.9}))


def test_silent_jobs_in_a_row():
    """Jobs without output follow each other and each sees what the last one wrote."""
    rows = np.arange(1, 4)
    jobs = [(fields(3, 0, 0), rows), *[(fields(3, 1, 0), rows)] * 3, (fields(3, 1, 1), rows)]
    found = run(jobs)
    check(*found)
    assert found[0].out["o"] == [5, 10, 15]


def test_worked_values():
    """By hand: 384 and -384 are 1.5 and -1.5 in the norm's unit, so 2 and -1; both ends clamp."""
    top = (1 << 31) - 1
    jobs = [
        (fields(4, 0, 1), [384, -384, top, -top - 1]),
        (fields(4, 1, 1), [-384, 384, 1, -(1 << 35)]),
    ]
    got, *_ = run(jobs)
    assert got.out["o"] == [384, -384, top, -top - 1, 0, 0, top, -top - 1]
    ends = ((1 << 23) - 1) ** 2 + (1 << 46)
    assert got.out["o_sum"] == [4 + 1 + ends, ends]
    assert got.counts["lost"] == 2


def test_latency_and_throughput():
    n = 64
    jobs = [(fields(n, 0, 1), np.arange(n)), (fields(n, 1, 1), np.arange(n))]
    got, *_ = run(jobs, channels=n, settle=40)
    taken = np.array(got.cycles["i_embed"] + got.cycles["i_row"])
    left = np.array(got.cycles["o"])
    np.testing.assert_array_equal(left - taken, Residual.latency)
    np.testing.assert_array_equal(np.diff(left[:n]), Residual.interval)
    np.testing.assert_array_equal(np.diff(left[n:]), Residual.interval)
    np.testing.assert_array_equal(
        np.array(got.cycles["o_sum"]) - taken[[n - 1, -1]], Residual.sum_latency
    )
    assert got.counts["busy"] == got.cycles["o_sum"][-1] + 2 - got.cycles["command"][0]


def test_silent_job_needs_nobody():
    """Without ``emit`` a stream that nobody takes stops nothing, and it takes a row per cycle."""
    rows = [7] * 40
    got = drive(
        Residual(40), {"command": [fields(40, 0, 0)], "i_embed": rows}, {}, counts=("busy",),
        probes=("probe",), settle=40,
    )  # fmt: skip
    assert [p["value"] for p in got.out["probe"]] == rows
    np.testing.assert_array_equal(np.diff(got.cycles["i_embed"]), 1)
    assert got.counts["busy"] < 40 + 20
