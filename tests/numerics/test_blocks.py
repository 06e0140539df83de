"""Block scales against exact fractions; what is clipped and clamped; dither."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.blocks import (
    RECIPROCALS,
    BlockQuant,
    Pow2Block,
    dither,
    divide_by_scale,
)
from tests.numerics.exact import clamp, half_up, power

FORMATS = [BlockQuant(4), BlockQuant(8), BlockQuant(8, qmax=119)]
TOP = 1 << 31


def scale(index):
    """(4 + m)/4·2^e of the index 4·e + m."""
    return Fraction(4 + index % 4, 4) * power(index // 4)


SCALES = [(index, scale(index)) for index in range(-60, 132)]


def nearest(magnitude, qmax):
    """Index of the scale nearest to magnitude / (qmax + 1/2); of two as near, the larger."""
    wanted = magnitude / (qmax + Fraction(1, 2))
    return min(SCALES, key=lambda item: (abs(item[1] - wanted), -item[1]))[0]


def edges(op):
    """Magnitudes around every midpoint of two scales in every octave, and around powers of two."""
    found = {1, 2, 3, TOP - 1, TOP}
    for (_, low), (_, high) in pairwise(SCALES):
        middle = int((low + high) / 2 * (op.qmax + Fraction(1, 2)))
        found |= {middle - 1, middle, middle + 1, middle + 2}
    found |= {(1 << k) + d for k in range(32) for d in (-1, 0, 1)}
    return sorted(m for m in found if 1 <= m <= TOP)


@pytest.mark.parametrize("op", FORMATS)
def test_the_scale_is_the_nearest_in_every_octave(op):
    magnitudes = edges(op)
    assert {m.bit_length() for m in magnitudes} == set(range(1, 33))
    assert_array_equal(op.index(np.array(magnitudes)), [nearest(m, op.qmax) for m in magnitudes])


def test_worked_block():
    """62/7 = 8.86 is nearest to 8 = 1.0·2^3, so 62/8 = 7.75 rounds to 8 and is clipped to 7."""
    op = BlockQuant(4, block=4)
    q, code, clipped, clamped = op(np.array([[62, -62, 4, -4]]), 0)
    assert q.tolist() == [[7, -8, 1, 0]]
    assert code.tolist() == [[3 * 4]]
    assert (clipped, clamped) == (1, 0)
    assert q.dtype == np.int8
    assert code.dtype == np.uint8


def test_a_tie_takes_the_larger_scale():
    """135/7.5 = 18 lies between 16 and 20 = 1.25·2^4, which 135 is 6.75 times."""
    q, code, clipped, _ = BlockQuant(4, block=2)(np.array([[135, -64]]), 0)
    assert code.tolist() == [[4 * 4 + 1]]
    assert q.tolist() == [[7, -3]]
    assert clipped == 0


@given(
    st.sampled_from(FORMATS),
    st.integers(0, 14),
    st.lists(st.integers(-TOP, TOP - 1), min_size=32, max_size=32),
    st.integers(0, 31),
)
def test_quantizing_is_exact_arithmetic(op, base, values, spread):
    values = [v >> spread for v in values]
    q, code, clipped, clamped = op(np.array([values]), base)
    largest = max(abs(v) for v in values)
    index = nearest(largest, op.qmax) - 4 * base if largest else 0
    assert int(code[0, 0]) == clamp(index, 0, 63)
    assert clamped == (index != clamp(index, 0, 63))
    m, e = int(code[0, 0]) % 4, int(code[0, 0]) // 4 + base
    reciprocal = round(Fraction(1 << 18, 4 + m))
    wide = [half_up(v * reciprocal, e + 16) for v in values]
    assert q[0].tolist() == [clamp(v, op.qmin, op.qmax) for v in wide]
    assert clipped == sum(not op.qmin <= v <= op.qmax for v in wide)


@pytest.mark.parametrize("m", range(4))
def test_the_reciprocal_is_a_division_but_for_near_ties(m):
    """x·R/2^(16 + e) is within 1.1e-5 of x/scale relatively: 0.0014 at 127."""
    assert abs(RECIPROCALS[m] * Fraction(4 + m, 4) - 65536) / 65536 < Fraction(11, 10**6)
    x = np.arange(-127 << 7, 128 << 7)
    got = divide_by_scale(x, np.array(RECIPROCALS[m]), np.array(7))
    exact = x / ((4 + m) / 4 * 128)
    assert np.abs(got - exact).max() <= 0.5 + 0.0014


@pytest.mark.parametrize("op", FORMATS)
def test_blocks_of_zeros_are_zero_and_count_nothing(op):
    q, code, clipped, clamped = op(np.zeros((3, 64), np.int64), 5)
    assert not q.any()
    assert not code.any()
    assert (clipped, clamped) == (0, 0)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("op", FORMATS)
def test_the_lowest_int32_does_not_wrap(op, kind):
    x = np.full((1, 32), -TOP, kind)
    q, code, _, clamped = op(x, 14)
    index = nearest(TOP, op.qmax) - 56
    assert code.tolist() == [[index]]
    assert clamped == 0
    assert abs(int(q[0, 0]) * scale(index + 56) + TOP) <= scale(index + 56) / 2


def test_a_block_beyond_the_16_exponents_is_clamped_and_counted():
    op = BlockQuant(4, block=2)
    x = np.array([[7, 0, 7 << 16, 0, 7 << 15, 0, 0, 0, 3, 1]])
    q, code, clipped, clamped = op(x, 0)
    assert code.tolist() == [[0, 63, 59, 0, 0]]  # 63: 1.75·2^15; 59: 1.75·2^14
    assert q[0].tolist() == [7, 0, 7, 0, 7, 0, 0, 0, 3, 1]
    assert (clipped, clamped) == (2, 2)  # clamped: 7·2^16, and 3, whose scale would be 0.4


def test_clipping_counts_both_ends():
    """Beyond the top scale, and 133·2^9 at qmax 119: 133/119 is nearest to 1."""
    _, _, clipped, clamped = BlockQuant(4, block=3)(np.array([[1 << 20, 5, -1 << 20]]), 0)
    assert (clipped, clamped) == (2, 1)
    q, _, clipped, _ = BlockQuant(8, block=3, qmax=119)(np.array([[-133, 133, -128]]) << 9, 0)
    assert q.tolist() == [[-128, 119, -128]]
    assert clipped == 2


def test_formats_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="activation bits must be 4 or 8, not 5"):
        BlockQuant(5)
    with pytest.raises(ValueError, match="block must be positive, not 0"):
        BlockQuant(4, block=0)
    for qmax in (8, -1):
        with pytest.raises(ValueError, match=f"qmax {qmax} does not fit 4 bits"):
            BlockQuant(4, qmax=qmax)


def test_worked_power_of_two_blocks():
    """127 needs no shift; 128 needs one; 511/4 = 127.75 rounds to 128 and saturates to 127."""
    op = Pow2Block(8, 2)
    q, e = op(np.array([[127, -1, 128, 3, 511, -511, -32768, 32767, 0, 0]]))
    assert e.tolist() == [[0, 1, 2, 9, 0]]
    assert q[0].tolist() == [127, -1, 64, 2, 127, -127, -64, 64, 0, 0]


@given(
    st.integers(8, 16),
    st.lists(st.integers(1 - TOP, TOP - 1), min_size=8, max_size=8),
    st.integers(0, 30),
)
def test_the_smallest_power_of_two_that_holds_the_block(bits, values, spread):
    values = [v >> spread for v in values]
    q, e = Pow2Block(bits, 8)(np.array([values]))
    exponent = int(e[0, 0])
    largest, high = max(abs(v) for v in values), 1 << (bits - 1)
    assert largest < high << exponent
    assert exponent == 0 or largest >= high << (exponent - 1)
    assert q[0].tolist() == [clamp(half_up(v, exponent), 1 - high, high - 1) for v in values]


def test_dither_takes_every_value_once_along_tokens_and_along_the_state():
    every = set(range(256))
    assert set(dither(np.array(77), np.arange(1000, 1256)).tolist()) == every
    assert set(dither(np.arange(256), np.array(123456)).tolist()) == every
    assert dither(np.array([1, 2]), np.array([[0], [1]])).tolist() == [[159, 62], [96, 255]]


def test_worked_dequantization():
    """Codes 1 and 6 above a base of 3: scales 1.25·2^3 = 10 and 1.5·2^4 = 24."""
    q, code = np.array([[1, -2, 7, -8]], np.int8), np.array([[1, 6]], np.uint8)
    assert BlockQuant(4, block=2).dequantize(q, code, 3).tolist() == [[10, -20, 168, -192]]
