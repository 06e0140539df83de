"""Choice of experts: ties, worked weights, and everything against float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from lightmamba.numerics.routing import ONE, Routing, largest, weighted

UNIT = 1 << 16
SCORES = arrays(np.int64, st.tuples(st.just(3), st.integers(1, 12)),
                elements=st.integers(-(1 << 31), (1 << 31) - 1))  # fmt: skip
NEAR = arrays(np.int64, st.tuples(st.just(3), st.integers(1, 12)), elements=st.integers(-2, 2))


@pytest.mark.parametrize(
    ("keys", "count", "want"),
    [
        ([5, 9, 7], 1, [1]), ([5, 9, 7], 2, [1, 2]), ([5, 9, 7], 3, [0, 1, 2]),
        ([4, 4, 4, 4], 2, [0, 1]), ([1, 4, 4, 4], 2, [1, 2]), ([4, 1, 4, 9], 2, [0, 3]),
        ([-8, -9], 1, [0]),
    ],
)  # fmt: skip
def test_worked_choices(keys, count, want):
    """The first of equal keys wins, and places are ascending whatever the order of the keys."""
    assert largest(np.array(keys), count).tolist() == want


@given(st.one_of(SCORES, NEAR), st.data())
def test_nothing_left_out_is_better(keys, data):
    count = data.draw(st.integers(1, keys.shape[1]))
    for row, found in zip(keys, largest(keys, count), strict=True):
        assert (np.diff(found) > 0).all()
        inside = sorted((-row[n], n) for n in found)
        outside = sorted((-row[n], n) for n in set(range(len(row))) - set(found.tolist()))
        assert len(inside) == count
        assert not outside or inside[-1] < outside[0]


@pytest.mark.parametrize(
    ("score", "want"),
    [
        ([0, 0], [ONE // 2, ONE // 2]),
        ([UNIT, 0], [21845, 10923]),  # two thirds and one third
        ([0, 40 * UNIT], [0, ONE]),
        ([-(1 << 31), (1 << 31) - 1], [0, ONE]),
        ([3 * UNIT], [ONE]),
    ],
)
def test_worked_softmax(score, want):
    found, weight = Routing(len(score))(np.array([score]))
    assert found.tolist() == [list(range(len(score)))]
    assert np.abs(weight[0] - want).max() <= 1


@given(SCORES, st.data())
def test_softmax_is_that_of_the_chosen(score, data):
    count = data.draw(st.integers(1, score.shape[1]))
    experts, weight = Routing(count)(score)
    assert_array_equal(experts, largest(score, count))
    mine = np.take_along_axis(score, experts, -1) / UNIT
    exact = 2.0 ** (mine - mine.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    assert np.abs(weight / ONE - exact).max() < 1e-4
    assert weight.min() >= 0
    assert weight.max() <= ONE
    assert np.abs(weight.sum(-1) - ONE).max() <= count + 3


@given(SCORES, st.data())
def test_sigmoids_are_chosen_with_their_bias_and_weighed_without(score, data):
    n = score.shape[1]
    score = score >> data.draw(st.integers(0, 14))
    count = data.draw(st.integers(1, n))
    bias = data.draw(arrays(np.int64, n, elements=st.integers(-(1 << 17), 1 << 17)))
    routing = Routing(count, "sigmoid")
    experts, weight = routing(score, bias)
    real = 1 / (1 + np.exp(-np.clip(score / UNIT, -16, 16)))
    sure = np.sort(real + bias / UNIT, -1)
    for row, found in enumerate(experts):
        key = (real + bias / UNIT)[row]
        assert key[found].min() >= sure[row, n - count] - 6e-5  # the error of the table
    mine = np.take_along_axis(real, experts, -1)
    exact = mine / np.maximum(mine.sum(-1, keepdims=True), 1e-4)
    near = mine.sum(-1) > 0.01
    assert np.abs(weight / ONE - exact)[near].max(initial=0) < 0.01
    plain, halved = Routing(count, "sigmoid", normed=False)(score, bias)
    assert_array_equal(plain, experts)
    assert np.abs(halved / ONE - mine).max() < 1e-4


def test_a_bias_decides_between_equal_scores():
    score, bias = np.zeros((1, 3), np.int64), np.array([0, 1, -1])
    experts, weight = Routing(1, "sigmoid")(score, bias)
    assert experts.tolist() == [[1]]
    assert weight.tolist() == [[ONE]]  # the bias would have added a unit to the weight
    assert Routing(2, "sigmoid")(score, bias)[1].tolist() == [[ONE // 2, ONE // 2]]


def test_sigmoids_that_are_all_zero_have_no_weight():
    lowest = np.full((1, 4), -(1 << 31))
    experts, weight = Routing(2, "sigmoid")(lowest)
    assert experts.tolist() == [[0, 1]]
    assert weight.tolist() == [[0, 0]]


@given(st.integers(-(1 << 23), (1 << 23) - 1), st.integers(0, ONE))
def test_a_weight_makes_no_value_larger(hidden, weight):
    found = int(weighted(np.array([[hidden]]), np.array([weight]))[0, 0])
    assert abs(found) <= abs(hidden)
    assert found == (hidden * weight + (1 << 14)) >> 15
    assert int(weighted(np.array([[hidden]]), np.array([ONE]))[0, 0]) == hidden


@pytest.mark.parametrize(
    ("options", "words"),
    [({"top_k": 0}, "top_k must be at least 1"), ({"top_k": 2, "scoring": "tanh"}, "softmax or")],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Routing(**options)
