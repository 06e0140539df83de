"""Integer formats, packing, and the scales of weight groups."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.formats import (
    INT16,
    INT32,
    NIBBLES,
    GroupScale,
    IntFormat,
    halves,
    pack,
    unpack,
)
from tests.numerics.exact import power

SCALE = GroupScale()
LEVELS = sorted((32 + m) << e for m in range(32) for e in range(8))


@pytest.mark.parametrize(
    ("form", "low", "high"),
    [
        (IntFormat(4), -8, 7),
        (INT16, -32768, 32767),
        (INT32, -2147483648, 2147483647),
        (IntFormat(32, symmetric=True), -2147483647, 2147483647),
        (IntFormat(62), -(1 << 61), (1 << 61) - 1),
    ],
)
def test_a_format_saturates_and_counts(form, low, high):
    assert (form.min, form.max) == (low, high)
    x = np.array([low - 1, low, 0, high, high + 1, 2 * high + 9])
    assert_array_equal(form(x), [low, low, 0, high, high, high])
    assert form.overflows(x) == 3
    assert form.overflows(form(x)) == 0


@pytest.mark.parametrize("bits", [-1, 0, 1, 63])
def test_a_format_of_another_width_is_refused(bits):
    with pytest.raises(ValueError, match=rf"bits must be in 2..62, not {bits}"):
        IntFormat(bits)


def test_worked_bytes():
    """The first value in the low nibble; two's complement."""
    assert pack(np.array([1, -1], np.int8), 4).tolist() == [0xF1]
    assert pack(np.array([-8, 7, 0, -2], np.int8), 4).tolist() == [0x78, 0xE0]
    assert pack(np.array([-1, 127, -128], np.int8), 8).tolist() == [0xFF, 0x7F, 0x80]


def test_every_pair_of_nibbles_comes_back():
    pairs = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).astype(np.int8)
    words = pack(pairs, 4)
    assert words.dtype == np.uint8
    assert words.shape == (16, 16, 1)
    assert len(np.unique(words)) == 256
    back = unpack(words, 4)
    assert_array_equal(back, pairs)
    assert back.dtype == np.int8


def test_every_byte_comes_back():
    q = np.arange(-128, 128).astype(np.int8).reshape(2, 128)
    assert_array_equal(unpack(pack(q, 8), 8), q)


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match=r"values -9\.\.3 do not fit 4 bits"):
        pack(np.array([3, -9], np.int8), 4)
    with pytest.raises(ValueError, match="cannot pack 3 values of 4 bits"):
        pack(np.zeros(3, np.int8), 4)
    with pytest.raises(ValueError, match="cannot pack 4 values of 5 bits"):
        pack(np.zeros(4, np.int8), 5)


def test_worked_halves():
    """q = 16·upper + lower, both signed: 8 is 16·1 - 8, and 119 is 16·7 + 7."""
    upper, lower = halves(np.array([0, 7, 8, 119, -1, -8, -9, -128], dtype=np.int8))
    assert upper.tolist() == [0, 0, 1, 7, 0, 0, -1, -8]
    assert lower.tolist() == [0, 7, -8, 7, -1, -8, 7, 0]


def test_halves_of_every_value_that_has_them():
    q = np.arange(-128, NIBBLES + 1).astype(np.int8)
    upper, lower = (half.astype(int) for half in halves(q))
    assert (16 * upper + lower == q).all()
    assert min(upper.min(), lower.min()) == -8
    assert max(upper.max(), lower.max()) == 7
    with pytest.raises(ValueError, match="120 is more than two signed nibbles hold, which is 119"):
        halves(np.array([120], dtype=np.int8))


def test_worked_scales():
    codes = np.array([0, 1, 31, 32, 33, 255], np.uint8)
    assert_array_equal(SCALE.multiplier(codes), [32, 33, 63, 64, 66, 63 << 7])
    assert SCALE.one == 32


def test_256_codes_are_256_scales_of_13_bits():
    table = SCALE.multiplier(np.arange(256, dtype=np.uint8))
    assert sorted(table.tolist()) == LEVELS
    assert len(set(LEVELS)) == 256
    assert max(LEVELS).bit_length() == 13
    assert_array_equal(SCALE.table(), table)


@given(st.floats(1.0, 20000.0), st.integers(-60, 60))
def test_the_nearest_scale_is_taken(value, base):
    code = SCALE.encode(np.array([math.ldexp(value, base)]), base)
    assert code.dtype == np.uint8
    exact = Fraction(value)
    best = min(abs(exact - level) for level in LEVELS)
    assert abs(exact - int(SCALE.multiplier(code)[0])) == best


def test_scales_encode_to_themselves_and_clamp_at_both_ends():
    codes = np.arange(256, dtype=np.uint8)
    assert_array_equal(SCALE.encode(SCALE.table() * 2.0**-20, -20), codes)
    assert SCALE.encode(np.array([1e-300, 1e300]), 0).tolist() == [0, 255]


@given(st.floats(1e-30, 1e30))
def test_the_largest_scale_of_a_tensor_lies_in_the_top_octave(largest):
    base = SCALE.base(largest)
    top = Fraction(largest) * power(-base) / 8064
    assert Fraction(1, 2) * (1 - power(-40)) < top <= 1 + power(-40)


def test_base_at_the_edges():
    assert SCALE.base(8064.0) == 0
    assert SCALE.base(8065.0) == 1
    assert SCALE.base(4032.0) == -1
    assert SCALE.base(0.0) == 0
