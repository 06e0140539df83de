"""The residual stream: equal to the engine's addition, its squares to ``RmsNorm``'s."""

import numpy as np
import pytest

from lightmamba.hardware.rtl.residual import Residual
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.formats import INT32
from lightmamba.numerics.linear import RmsNorm
from lightmamba.numerics.primitives import round_shift
from tests.support.numbers import spread
from tests.support.streams import drive, handed

NORM = RmsNorm()
CHANNELS = 24
BESIDE = 12345  # a row that is not there


def fields(count, add, emit):
    return {"count": count, "add": add, "emit": emit}


def paired(values, width):
    """Values as they leave, ``width`` in a cycle; an odd last one with 0."""
    values = [int(v) for v in values]
    values += [0] * (-len(values) % width)
    return [values[n : n + width] for n in range(0, len(values), width)]


def run(jobs, dut=None, lanes=2, **options):
    """Drive (command, rows) jobs; what came out, and what the engine's arithmetic says."""
    dut = dut or Residual(CHANNELS, min(2, lanes))
    width, stream = dut.width, np.zeros(dut.channels, dtype=np.int64)
    inputs = {"command": [c for c, _ in jobs], "i_embed": [], "i_row": []}
    shown, out, sums, lost = [], [], [], 0
    for command, rows in jobs:
        rows, part = np.asarray(rows), slice(0, command["count"])
        if command["add"]:
            inputs["i_row"] += handed(rows, lanes, BESIDE)
        else:
            inputs["i_embed"] += rows.tolist()
        total = stream[part] + rows if command["add"] else rows
        lost += INT32.overflows(total)
        stream[part] = INT32(total)
        stream[command["count"] :][: command["count"] % width] = 0
        shown += paired(stream[part], width)
        if command["emit"]:
            out += paired(stream[part], width)
            sums.append(int((NORM.square(round_shift(stream[part], RMS_SHIFT)) ** 2).sum()))
    got = drive(
        dut, inputs, {"o": len(out), "o_sum": len(sums)},
        counts=("lost", "busy"), probes=("probe",), **options,
    )  # fmt: skip
    return got, shown, out, sums, lost


def check(got, shown, out, sums, lost):
    assert [p["value"] for p in got.out["probe"]] == shown
    assert got.out["o"] == out
    assert got.out["o_sum"] == sums
    assert got.counts["lost"] == lost


@pytest.mark.parametrize(
    ("seed", "stalls", "lanes"),
    [(0, 0.0, 2), (1, 0.3, 2), (2, 0.6, 2), (3, 0.0, 3), (4, 0.4, 5), (5, 0.0, 1), (6, 0.3, 1)],
)
def test_equals_engine(seed, stalls, lanes):
    """Set, add, add silently, in any order and of any count, as a token with its layers does."""
    rng = np.random.default_rng(seed)
    jobs = [(fields(CHANNELS, 0, 1), spread(rng, 32, CHANNELS))]
    for _ in range(24):
        count = int(rng.choice([1, 2, 3, 4, 7, CHANNELS - 1, CHANNELS]))
        add, emit = int(rng.random() < 0.7), int(rng.random() < 0.6)
        jobs.append((fields(count, add, emit), spread(rng, 36 if add else 32, count)))
    found = run(jobs, lanes=lanes, stalls=stalls, seed=seed, settle=30)
    check(*found)
    assert found[-1] > 0


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("slow", ["o", "o_sum"])
def test_slow_outputs(slow, lanes):
    """One output that is hardly ever taken stops the unit, and nothing is lost."""
    rng = np.random.default_rng(7)
    jobs = [(fields(CHANNELS, 0, 1), spread(rng, 32, CHANNELS))]
    jobs += [(fields(n, 1, 1), spread(rng, 36, n)) for n in (CHANNELS, 1, 1, 2, 1, 5, 23)]
    check(*run(jobs, lanes=lanes, slow={slow: 0.9}))


def test_silent_jobs_in_a_row():
    """Jobs without output follow each other and each sees what the last one wrote."""
    rows = np.arange(1, 4)
    jobs = [(fields(3, 0, 0), rows), *[(fields(3, 1, 0), rows)] * 3, (fields(3, 1, 1), rows)]
    found = run(jobs)
    check(*found)
    assert found[0].out["o"] == [[5, 10], [15, 0]]


def test_worked_values():
    """By hand: 384 and -384 are 1.5 and -1.5 in the norm's unit, so 2 and -1; both ends clamp."""
    top = (1 << 31) - 1
    jobs = [
        (fields(4, 0, 1), [384, -384, top, -top - 1]),
        (fields(4, 1, 1), [-384, 384, 1, -(1 << 35)]),
    ]
    got, *_ = run(jobs)
    assert got.out["o"] == [[384, -384], [top, -top - 1], [0, 0], [top, -top - 1]]
    ends = ((1 << 23) - 1) ** 2 + (1 << 46)
    assert got.out["o_sum"] == [4 + 1 + ends, ends]
    assert got.counts["lost"] == 2


@pytest.mark.parametrize("lanes", [1, 2])
def test_latency_and_throughput(lanes):
    """A row of the embedding per cycle, and as many of out_proj as there may be."""
    n, dut = 64, Residual(64, lanes)
    jobs = [(fields(n, 0, 1), np.arange(n)), (fields(n, 1, 1), np.arange(n))]
    got, *_ = run(jobs, dut, lanes, settle=40)
    embedded, rows = (np.array(got.cycles[name]) for name in ("i_embed", "i_row"))
    left, beats = np.array(got.cycles["o"]), n // lanes
    np.testing.assert_array_equal(left[:beats] - embedded[lanes - 1 :: lanes], dut.latency)
    np.testing.assert_array_equal(left[beats:] - rows, dut.latency)
    np.testing.assert_array_equal(np.diff(embedded), dut.interval)
    np.testing.assert_array_equal(np.diff(rows), dut.interval)
    last = np.array([embedded[-1], rows[-1]])
    np.testing.assert_array_equal(np.array(got.cycles["o_sum"]) - last, dut.sum_latency)
    assert got.counts["busy"] == got.cycles["o_sum"][-1] + 2 - got.cycles["command"][0]


def test_silent_job_needs_nobody():
    """Without ``emit`` a stream that nobody takes stops nothing, and it takes a row per cycle."""
    rows = [7] * 40
    got = drive(
        Residual(40), {"command": [fields(40, 0, 0)], "i_embed": rows}, {}, counts=("busy",),
        probes=("probe",), settle=40,
    )  # fmt: skip
    assert [p["value"] for p in got.out["probe"]] == [[row] for row in rows]
    np.testing.assert_array_equal(np.diff(got.cycles["i_embed"]), 1)
    assert got.counts["busy"] < 40 + 20
