"""Shift, saturate, bit length against Python's exact integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.primitives import bit_length, round_shift, saturate
from tests.numerics.exact import half_up

TOP = (1 << 62) - 1


@pytest.mark.parametrize(
    ("x", "shift", "want"),
    [
        (5, 1, 3),  # 2.5 goes up
        (-5, 1, -2),  # -2.5 goes up too
        (2, 2, 1),  # 0.5
        (-2, 2, 0),  # -0.5
        (3, -2, 12),
        (1 << 61, 62, 1),  # 0.5
        (-(1 << 61) - 1, 62, -1),
        (-TOP, 62, -1),
        (1, -61, 1 << 61),
    ],
)
def test_worked_values_of_round_shift(x, shift, want):
    assert round_shift(np.array([x]), shift)[0] == want
    assert round_shift(x, np.array(shift)) == want
    assert half_up(x, shift) == want


@given(st.integers(-TOP, TOP), st.integers(0, 62))
def test_a_right_shift_rounds_half_up_and_never_wraps(x, shift):
    assert int(round_shift(np.array(x), shift)) == half_up(x, shift)


@given(st.integers(-62, 0), st.data())
def test_a_left_shift_multiplies_up_to_62_bits(shift, data):
    limit = TOP >> -shift
    x = data.draw(st.integers(-limit, limit))
    assert int(round_shift(np.array(x), shift)) == x << -shift


def test_shifts_broadcast():
    x = np.array([[7], [-7], [100]])
    shift = np.array([0, 1, 3, -2])
    want = [[half_up(int(v), int(s)) for s in shift] for v in x[:, 0]]
    got = round_shift(x, shift)
    assert_array_equal(got, want)
    assert got.dtype == np.int64


def test_saturate_clamps_by_scalars_and_by_arrays():
    assert_array_equal(saturate(np.array([-9, -8, 0, 7, 8]), -8, 7), [-8, -8, 0, 7, 7])
    assert_array_equal(
        saturate(np.array([5, 5, 5]), np.array([6, 0, 0]), np.array([9, 4, 9])), [6, 4, 5]
    )
    assert saturate(np.array(1 << 40), -30, 62) == 62


def test_bit_length_at_every_power_and_its_neighbours():
    values = [0] + [v for k in range(63) for v in ((1 << k) - 1, 1 << k, (1 << k) + 1)]
    values += [(1 << 63) - 1, 0x5555555555555555, 123456789]
    assert_array_equal(bit_length(np.array(values)), [v.bit_length() for v in values])
