"""Attention in integers: against floats, page by page, at the edges of its widths."""

import numpy as np
import pytest

from lightmamba.numerics.attention import PAGE, POSITIONS, Attention
from lightmamba.numerics.tables import Reciprocal

OP = Attention()
EXPONENT = -12  # of int16 queries, keys and values


def fixed(x):
    return np.rint(x * 2.0**-EXPONENT).astype(np.int64)


def whole(q, k, v, shift=-8, op=OP):
    """Mean of int16 values (heads, head_dim), with an exponent of EXPONENT + shift."""
    (q8, q_exp), (k8, k_exp), (v8, v_exp) = (op.scale(x) for x in (q, k, v))
    scores, lost = op.scores(q8, q_exp, k8, k_exp, -(2 * EXPONENT + 16))
    total, weights = op.weigh(scores, v8, v_exp)
    mean, over = op.divide(total, weights, shift)
    return mean, lost + over


def real(q, k, v, block=32):
    """The same in float64, of what the scales left of the queries, keys and values."""
    parts = []
    for x in (q, k, v):
        q8, exponent = Attention(block).scale(x)
        parts.append(q8 * np.repeat(2.0 ** exponent.astype(float), block, -1) * 2.0**EXPONENT)
    scores = np.einsum("hd,hnd->hn", *parts[:2])
    weights = np.exp2(scores - scores.max(1, keepdims=True))
    return np.einsum("hn,hnd->hd", weights, parts[2]) / weights.sum(1)[:, None]


@pytest.mark.parametrize("positions", [1, 2, 31, 32, 33, 64, 1000])
@pytest.mark.parametrize("spread", [0.2, 1.0, 5.0])
def test_it_is_attention(positions, spread):
    rng = np.random.default_rng(positions)
    q = fixed(rng.standard_normal((3, 64)) * spread)
    k, v = (fixed(rng.standard_normal((3, positions, 64))) for _ in range(2))
    mean, lost = whole(q, k, v)
    assert lost == 0
    wanted = real(q, k, v)
    assert np.abs(mean * 2.0 ** (EXPONENT - 8) - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_worked_values():
    """Two positions whose scores lie one apart weigh 2 to 1."""
    scores = np.array([[3 << 16, 4 << 16]])
    v = np.zeros((1, 2, 32), np.int64)
    v[0, 0], v[0, 1] = 60, 90
    total, weights = OP.weigh(scores, v, np.zeros((1, 2, 1), np.int64))
    assert weights.tolist() == [(1 << 23) + (1 << 22)]
    assert total[0, 0] == 90 * (1 << 23) + 60 * (1 << 22)
    mean, lost = OP.divide(total, weights, -8)
    assert lost == 0
    assert abs(int(mean[0, 0]) / 256 - 80) < 0.01


def test_a_new_maximum_shifts_what_there_is():
    scores = np.zeros((1, PAGE + 1), np.int64)
    scores[0, PAGE] = 5 << 16
    v = np.full((1, PAGE + 1, 32), 1)
    total, weights = OP.weigh(scores, v, np.zeros((1, PAGE + 1, 1), np.int64))
    assert weights[0] == ((PAGE << 23) >> 5) + (1 << 23)
    assert (total[0] == weights[0]).all()


def test_positions_are_taken_in_order_and_pages():
    """A prefix gives what it gave before: nothing depends on what comes later."""
    rng = np.random.default_rng(5)
    scores = rng.integers(-(20 << 16), 20 << 16, (2, 200))
    v, v_exp = rng.integers(-127, 128, (2, 200, 32)), rng.integers(0, 10, (2, 200, 1))
    for count in (1, 32, 33, 100, 199):
        total, weights = OP.weigh(scores[:, :count], v[:, :count], v_exp[:, :count])
        moved = np.roll(scores, 1, axis=1)[:, :count]
        other, _ = OP.weigh(moved, v[:, :count], v_exp[:, :count])
        again = OP.weigh(scores[:, :count].copy(), v[:, :count], v_exp[:, :count])
        assert (again[0] == total).all()
        assert (again[1] == weights).all()
        assert count == 1 or (other != total).any()


def test_widths_for_the_longest_sequence():
    """Bounds of the docstring: from the extremes of every factor."""
    block, head_dim, product, most = 32, 256, 127 * 127, 9  # exponents of int16 in int8: 0 to 9
    assert block * product * (head_dim // block) << 2 * most < 1 << 42
    weight = OP.exp2.one
    assert weight < 1 << 24
    assert weight * POSITIONS < 1 << 42
    largest = weight * 127 * POSITIONS << most
    assert largest < 1 << 58
    # weights are at least 2^22 wherever total is largest, so j >= 7, and total >> j < 2^33
    for weights in (1 << 22, weight, weight * POSITIONS):
        _, j = Reciprocal.normalize(np.array([weights]))
        count = max(1, weights // weight)
        assert (weight * 127 * count << most) >> int(j[0]) < 1 << 33
    assert (1 << 33) * 65535 < 1 << 62


def test_the_longest_sequence_at_full_scale():
    """All positions alike and at the ends of their ranges: the mean is the value, exactly."""
    scores = np.full((1, POSITIONS), (1 << 31) - 1)
    v = np.full((1, POSITIONS, 1), -127)
    op = Attention(1)
    total, weights = op.weigh(scores, v, np.full((1, POSITIONS, 1), 9))
    assert abs(int(total[0, 0])) < 1 << 58
    mean, lost = op.divide(total, weights, 0)
    assert lost == 0
    assert abs(int(mean[0, 0]) + (127 << 9)) <= 3  # the reciprocal has 16 bits


def test_low_scores_and_high_ones():
    scores = np.array([[-(1 << 31) + 1, (1 << 31) - 1, -(1 << 31) + 1]])
    v = np.array([[[10], [20], [30]]]) * np.ones((1, 1, 32), np.int64)
    total, weights = OP.weigh(scores, v, np.zeros((1, 3, 1), np.int64))
    mean, _ = OP.divide(total, weights, 0)
    assert (mean == 20).all()


def test_saturations_are_counted():
    q = np.full((1, 32), 127)
    k = np.full((1, 2, 32), 127)
    scores, lost = OP.scores(q, np.array([[9]]), k, np.full((1, 2, 1), 9), 0)
    assert lost == 2
    assert (scores == (1 << 31) - 1).all()
    _, over = OP.divide(np.array([[127 << 40]]), np.array([1 << 23]), 0)
    assert over == 1


def test_reciprocal_over_its_whole_domain():
    op = Reciprocal()
    f = np.arange(1 << 15, 1 << 16)
    mantissa, j = op(f)
    assert (j == 0).all()
    assert mantissa.min() >= 1 << 15
    assert mantissa.max() <= 65535
    assert np.abs(mantissa * f * 2.0**-31 - 1).max() < 3.1e-5
    for s in (1, 2, 3, (1 << 41) + 12345, (1 << 62) - 1):
        mantissa, j = op(np.array([s]))
        assert abs(int(mantissa[0]) * s * 2.0 ** (-31 - int(j[0])) - 1) < 6.2e-5
