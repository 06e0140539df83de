"""The gate of the hardware: equal to ``numerics.gate.Gate``, its sums to plain arithmetic."""

from typing import Any

import numpy as np
import pytest

from lightmamba.hardware.rtl.mamba2.gate import Gate
from lightmamba.numerics.gate import Gate as Arithmetic
from tests.support.numbers import spread
from tests.support.streams import drive

OP = Arithmetic()


def words(weight):
    """Weights of one command as 64-bit words, four each."""
    padded = np.pad(weight, (0, -len(weight) % 4)).astype("<i2")
    return [int(word) for word in padded.view("<u8")]


def fields(group_dim, groups, silu, shift, weighted):
    return {
        "count": groups * group_dim, "group_dim": group_dim, "silu": silu, "shift": shift,
        "weighted": weighted,
    }  # fmt: skip


def run(jobs, **options):
    """Drive (command, y, z, weight) jobs; what came out, and what numerics says."""
    inputs: dict[str, list[Any]] = {"command": [], "i_y": [], "i_z": [], "i_weight": []}
    g, weighted, sums, lost = [], [], [], 0
    for command, y, z, weight in jobs:
        inputs["command"].append(command)
        inputs["i_y"] += y.tolist()
        inputs["i_z"] += z.tolist()
        inputs["i_weight"] += words(weight)
        shifts = command["silu"], command["shift"]
        found, after, over = OP(y, z, *shifts, weight, command["weighted"])
        g += found.tolist()
        weighted += after.tolist()
        sums += (found.reshape(-1, command["group_dim"]) ** 2).sum(-1).tolist()
        lost += over
    got = drive(
        Gate(OP), inputs, {"o": len(g), "o_sum": len(sums)},
        counts=("lost", "busy"), probes=("probe",), **options,
    )  # fmt: skip
    return got, g, weighted, sums, lost


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.3), (2, 0.7)])
def test_equals_numerics(seed, stalls):
    rng = np.random.default_rng(seed)
    jobs = []
    for _ in range(10):
        group_dim, groups = int(rng.integers(1, 14)), int(rng.integers(1, 4))
        silu = int(rng.choice([-31, -16, -15, -14, -4, 0, 3, 15, 16, 17, 62]))
        shift = int(rng.choice([-20, -3, 0, 8, 12, 15, 16, 39, 40, 62]))
        weighted = int(rng.choice([-20, -1, 0, 9, 14, 15, 39, 40, 41, 62]))
        n = group_dim * groups
        operands = (spread(rng, bits, n) for bits in (24, 16, 16))
        jobs.append((fields(group_dim, groups, silu, shift, weighted), *operands))
    got, g, weighted, sums, lost = run(jobs, stalls=stalls, seed=seed, settle=30)
    np.testing.assert_array_equal(got.out["o"], weighted)
    np.testing.assert_array_equal(got.out["o_sum"], sums)
    np.testing.assert_array_equal([p["g"] for p in got.out["probe"]], g)
    np.testing.assert_array_equal([p["weighted"] for p in got.out["probe"]], weighted)
    assert got.counts["lost"] == lost
    assert lost > 0


@pytest.mark.parametrize("weighted", [38, 39, 40, 62])
def test_ends_of_the_shifts(weighted):
    """The largest product there is, -2^23 times -2^15, shifted until nothing is left."""
    low = np.full(4, -(1 << 23))
    z, weight = np.full(4, 32767), np.array([-32768, 32767, -32768, 1])
    got, _, expected, sums, lost = run([(fields(4, 1, 0, 0, weighted), low, z, weight)])
    np.testing.assert_array_equal(got.out["o"], expected)
    assert got.out["o_sum"] == sums == [1 << 48]
    assert got.counts["lost"] == lost == 4


@pytest.mark.parametrize("silu", [-31, -15, -14, 14, 15, 16, 17, 62])
def test_every_shift_to_the_sigmoid(silu):
    z = np.array([-32768, -32767, -2, -1, 0, 1, 2, 32767])
    job = fields(8, 1, silu, 0, 0), np.full(8, 1 << 8), z, np.ones(8, dtype=int)
    got, g, *_ = run([job])
    np.testing.assert_array_equal([p["g"] for p in got.out["probe"]], g)


def test_worked_values():
    """By hand: z = 8192 is 4 in Q5.11, σ(4) = 0.98201, and 8192 times that is 8044.6."""
    y, z = np.array([1 << 10, -3, 1 << 20, 7]), np.array([8192, 8192, 8192, 0])
    got, *_ = run([(fields(2, 2, 0, 10, 1), y, z, np.array([1, 2, -3, 5]))])
    assert [p["g"] for p in got.out["probe"]] == [8045, -24, 8045 << 10, 0]
    assert got.out["o"] == [4023, -24, -(1 << 23), 0]
    assert got.out["o_sum"] == [8045**2 + 24**2, (8045 << 10) ** 2]
    assert got.counts["lost"] == 1


@pytest.mark.parametrize("slow", ["o", "o_sum"])
def test_slow_outputs(slow):
    """One output that is hardly ever taken stops the unit, and nothing is lost."""
    n, rng = 90, np.random.default_rng(4)
    job = fields(2, n // 2, 0, 12, 12), *(spread(rng, bits, n) for bits in (24, 16, 16))
    got, _, weighted, sums, _ = run([job], slow={slow: 0.8})
    np.testing.assert_array_equal(got.out["o"], weighted)
    np.testing.assert_array_equal(got.out["o_sum"], sums)


def test_latency_and_throughput():
    n = 96
    job = fields(n // 2, 2, 0, 8, 8), np.arange(n), np.arange(n), np.arange(n)
    got, *_ = run([job], settle=50)
    taken, left = (np.array(got.cycles[p]) for p in ("i_y", "o"))
    np.testing.assert_array_equal(left - taken, Gate.latency)
    np.testing.assert_array_equal(np.diff(left), Gate.interval)
    np.testing.assert_array_equal(
        np.array(got.cycles["o_sum"]) - taken[n // 2 - 1 :: n // 2], Gate.sum_latency
    )
    assert got.cycles["i_z"] == got.cycles["i_y"]
    assert got.cycles["i_weight"] == got.cycles["i_y"][3::4]
    # Busy from the offer of the command until the cycle after the last element has left.
    assert got.counts["busy"] == got.cycles["o"][-1] + 2 - got.cycles["command"][0]


def test_sums_of_a_layer_fit_the_queue():
    """All 15 sums may wait: the epilogue takes them only when the gate is through."""
    n = 60
    ones = [1] * n
    inputs = {"command": [fields(n // 15, 15, 0, 0, 0)], "i_y": ones, "i_z": ones}
    got = drive(Gate(OP), inputs | {"i_weight": words(np.array(ones))}, {"o": n})
    assert np.diff(got.cycles["o"]).max() == 1
