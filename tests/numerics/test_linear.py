"""Norm, projection and epilogue against Python's exact integers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue, Projection, RmsNorm
from tests.numerics.exact import clamp, half_up, objects

NORM = RmsNorm()
SHAPES = [
    Projection(BlockQuant(4), 4),
    Projection(BlockQuant(8, 32, 119), 4),
    Projection(BlockQuant(8, 128), 8),
    Projection(BlockQuant(4, 16), 8, group=64),
]


def random_operands(op, vectors, rows, channels, seed=0):
    rng = np.random.default_rng(seed)
    low, high = op.act.qmin, op.act.qmax + 1
    half = 1 << (op.bits - 1)
    return (
        rng.integers(low, high, (vectors, channels)).astype(np.int8),
        rng.integers(0, 64, (vectors, channels // op.act.block)).astype(np.uint8),
        rng.integers(-half, half, (rows, channels)).astype(np.int8),
        rng.integers(0, 256, (rows, channels // op.group)).astype(np.uint8),
    )


def by_hand(op, q, code, weight, weight_code):
    """One sum, a product at a time."""
    total = 0
    for i, (a, w) in enumerate(zip(q.tolist(), weight.tolist(), strict=True)):
        c, g = int(code[i // op.act.block]), int(weight_code[i // op.group])
        total += a * w * ((4 + c % 4) << (c // 4)) * ((32 + g % 32) << (g // 32))
    return total


@pytest.mark.parametrize("op", SHAPES)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_projection_is_its_sum_of_products(op, parts):
    channels = 3 * 2 * op.group
    q, code, weight, weight_code = random_operands(op, 3, 4, channels)
    got = op(q, code, weight, weight_code, parts)
    assert got.shape == (3, parts, 4)
    assert got.dtype == np.int64
    size = channels // parts
    for v, p, r in np.ndindex(got.shape):
        at = slice(p * size, (p + 1) * size)
        blocks = slice(p * size // op.act.block, (p + 1) * size // op.act.block)
        groups = slice(p * size // op.group, (p + 1) * size // op.group)
        want = by_hand(op, q[v, at], code[v, blocks], weight[r, at], weight_code[r, groups])
        assert int(got[v, p, r]) == want


def test_worked_projection():
    """Two blocks of two: (1·3 + 2·(-1))·4·2 + (0·5 + 7·(-8))·7, all times 33·2."""
    op = Projection(BlockQuant(4, 2), 4, group=4)
    q = np.array([[1, 2, 0, 7]], np.int8)
    code = np.array([[4, 3]], np.uint8)
    weight = np.array([[3, -1, 5, -8]], np.int8)
    got = op(q, code, weight, np.array([[33]], np.uint8))
    assert got.tolist() == [[[(1 * 8 - 56 * 7) * 66]]]


@pytest.mark.parametrize("op", SHAPES)
def test_block_sums_are_exact_at_their_extremes(op):
    """Whole, almost whole and mixed blocks of the largest products."""
    block, channels = op.act.block, op.group
    q = np.full((3, channels), op.act.qmin, np.int8)
    q[1, ::block] += 1
    q[2, 1::2] = op.act.qmax
    weight = np.full((3, channels), -(1 << (op.bits - 1)), np.int8)
    weight[1, ::block] += 1
    weight[2] = -weight[2] - 1
    got = op.block_sums(q, weight)
    wide, rows = objects(q), objects(weight)
    for b in range(channels // block):
        at = slice(b * block, (b + 1) * block)
        assert_array_equal(got[b].astype(object), wide[:, at] @ rows[:, at].T)


def test_projections_that_cannot_be_exact_are_refused():
    with pytest.raises(ValueError, match="weight bits must be 4 or 8, not 3"):
        Projection(BlockQuant(4), 3)
    with pytest.raises(ValueError, match="block 48 must divide the group of 128"):
        Projection(BlockQuant(4, 48), 4)
    Projection(BlockQuant(8, 1024), 8, group=1024)
    with pytest.raises(ValueError, match=r"exceed 2\^24; make the block 1024 or smaller"):
        Projection(BlockQuant(8, 2048), 8, group=2048)


def test_worked_norm():
    """3² + 4² = 25 with eps 0 is not allowed; eps 24 makes 49, and 1/7 = 74898·2^-19."""
    mantissa, j = NORM(np.array([[3, 4]]), 0, 1, 24)
    assert float(mantissa[0, 0] * 2.0 ** (-23.0 - j[0, 0])) == pytest.approx(1 / 7, rel=6e-5)
    mantissa, j = NORM(np.array([[30 << 8, 40 << 8, 0, 5 << 8]]), 8, 2, 1)
    assert_allclose(mantissa * 2.0 ** (-23.0 - j), [[2501**-0.5, 26**-0.5]], rtol=6e-5)


@given(
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=6, max_size=6), st.integers(0, 12),
    st.integers(1, 1 << 40),
)  # fmt: skip
def test_a_norm_is_the_root_of_its_exact_sum(values, shift, eps):
    mantissa, j = NORM(np.array([values]), shift, 2, eps)
    for g in range(2):
        narrow = [clamp(half_up(v, shift), -(1 << 23), (1 << 23) - 1) for v in values[3 * g :][:3]]
        s = sum(v * v for v in narrow) + eps
        got = float(mantissa[0, g]) * 2.0 ** (-23 - int(j[0, g]))
        assert got == pytest.approx(1 / math.sqrt(s), rel=2.9e-5 + 2.0**-15)


def test_worked_epilogue():
    """(1000 + 8) >> 4 = 63; 63·40000 = 2520000 = 38.45·2^16."""
    rows, lost = Epilogue()(np.array([1000]), 4, np.array([40000]), np.array([16]), INT16)
    assert rows.tolist() == [38]
    assert lost == 0


@given(
    st.integers(-(1 << 58), 1 << 58), st.integers(0, 40), st.integers(1 << 15, (1 << 16) - 1),
    st.integers(-10, 70), st.sampled_from([INT16, INT32]),
)  # fmt: skip
def test_an_epilogue_is_exact_arithmetic(acc, acc_shift, mantissa, shift, out):
    got, lost = Epilogue()(np.array([acc]), acc_shift, np.array([mantissa]), np.array([shift]), out)
    rounded = half_up(acc, acc_shift)
    wide = clamp(rounded, -(1 << 39), (1 << 39) - 1)
    scaled = half_up(wide * mantissa, clamp(shift, 0, 62))
    assert got.tolist() == [clamp(scaled, out.min, out.max)]
    assert lost == int(wide != rounded) + int(got[0] != scaled)
