"""The Hadamard unit: equal to ``numerics.gate.OnlineHadamard``."""

import numpy as np
import pytest

from lightmamba.hardware.rtl.hadamard import HadamardUnit
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.gate import OnlineHadamard
from tests.support.numbers import spread
from tests.support.streams import drive

TOP = (1 << 23) - 1


def fields(groups, group_dim, order_log2, shift):
    return {
        "groups": groups, "group_dim": group_dim, "pad": -group_dim % 128,
        "order_log2": order_log2, "shift": shift,
    }  # fmt: skip


def run(jobs, op=None, **options):
    """Drive (command, x) jobs; what came out, what numerics says, and what it lost."""
    op = op or OnlineHadamard()
    expected, lost = [], 0
    for command, x in jobs:
        own = OnlineHadamard(1 << command["order_log2"], op.pad, op.out)
        wide, over = own(np.asarray(x), command["groups"], command["shift"])
        expected += wide.tolist()
        lost += over
    got = drive(
        HadamardUnit(op),
        {"command": [c for c, _ in jobs], "i": [int(v) for _, x in jobs for v in x]},
        {"o": len(expected)}, counts=("lost", "busy"), **options,
    )  # fmt: skip
    return got, expected, lost


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.2), (2, 0.5)])
def test_equals_numerics(seed, stalls):
    """Jobs one after the other: nothing of one is left in the lines for the next."""
    rng = np.random.default_rng(seed)
    orders = rng.permutation(8)[:4] if seed else [7, 0, 7, 3]
    jobs = []
    for order_log2, (groups, group_dim) in zip(
        orders, [(2, 50), (1, 128), (1, 127), (1, 1)], strict=True
    ):
        command = fields(groups, group_dim, int(order_log2), int(rng.integers(0, 12)))
        jobs.append((command, spread(rng, 24, groups * group_dim)))
    got, expected, lost = run(jobs, stalls=stalls, seed=seed, settle=150)
    np.testing.assert_array_equal(got.out["o"], expected)
    assert got.counts["lost"] == lost == 0


@pytest.mark.parametrize("order_log2", [0, 7])
def test_slow_output(order_log2):
    """It stops in the input, in the padding and in the flush, and nothing is lost."""
    rng = np.random.default_rng(6)
    got, expected, _ = run([(fields(1, 100, order_log2, 3), spread(rng, 24, 100))], slow={"o": 0.8})
    np.testing.assert_array_equal(got.out["o"], expected)


@pytest.mark.parametrize("order_log2", range(8))
def test_every_order(order_log2):
    rng = np.random.default_rng(order_log2)
    got, expected, _ = run([(fields(1, 130, order_log2, order_log2), spread(rng, 24, 130))])
    np.testing.assert_array_equal(got.out["o"], expected)


@pytest.mark.parametrize("shift", [0, 7, 30, 31])
def test_extremes(shift):
    """Rows of H times the ends of int24: the largest sums there are."""
    signs = np.where(np.arange(128) & 1, -1, 1)
    x = np.concatenate([np.full(128, -TOP - 1), TOP * signs])
    got, expected, lost = run([(fields(2, 128, 7, shift), x)])
    np.testing.assert_array_equal(got.out["o"], expected)
    assert expected[0] == {0: -(1 << 30), 7: -(1 << 23), 30: -1, 31: 0}[shift]
    assert got.counts["lost"] == lost == 0


def test_saturation():
    """Int32 is never left, so a narrower format shows that it would be counted."""
    op = OnlineHadamard(out=IntFormat(20))
    rng = np.random.default_rng(3)
    got, expected, lost = run([(fields(1, 100, 3, 2), spread(rng, 24, 100))], op, settle=20)
    np.testing.assert_array_equal(got.out["o"], expected)
    assert got.counts["lost"] == lost > 0


def test_worked_values():
    """By hand: H4·(1, 2, 3, 5) = (11, -3, -5, 1), halved with ties up; then H1 and an impulse."""
    jobs = [
        (fields(1, 4, 2, 1), [1, 2, 3, 5]),
        (fields(1, 4, 0, 1), [-3, -1, 1, 3]),
        (fields(1, 2, 7, 0), [0, 9]),
    ]
    got, *_ = run(jobs)
    first, second, third = np.reshape(got.out["o"], (3, 128)).tolist()
    assert first == [6, -1, -2, 1] + [0] * 124
    assert second == [-1, 0, 1, 2] + [0] * 124
    assert third == [9, -9] * 64


@pytest.mark.parametrize("order_log2", [0, 3, 7])
def test_latency_and_throughput(order_log2):
    got, *_ = run([(fields(2, 100, order_log2, 0), [1] * 200)], settle=200)
    taken, left = np.array(got.cycles["i"]), np.array(got.cycles["o"])
    behind = (1 << order_log2) - 1
    assert len(left) == 256
    assert left[0] == taken[0] + behind + HadamardUnit.latency
    np.testing.assert_array_equal(np.diff(left), HadamardUnit.interval)
    np.testing.assert_array_equal(np.diff(taken), [1] * 99 + [1 + 28] + [1] * 99)
    assert got.counts["busy"] == left[-1] + 2 - got.cycles["command"][0]
