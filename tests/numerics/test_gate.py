"""The gate and the transform behind it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.conv import Silu
from lightmamba.numerics.gate import Gate, OnlineHadamard
from lightmamba.numerics.hadamard import hadamard
from tests.numerics.exact import clamp, half_up

LOW, HIGH = -(1 << 23), (1 << 23) - 1


def test_worked_gate():
    """silu(1) = 1497·2^-11: 1000·1497 / 2^11 = 730.96; 731·3 / 2 = 1096.5 goes up."""
    g, weighted, lost = Gate()(np.array([1000]), np.array([2048]), 0, 11, np.array([3]), 1)
    assert g.tolist() == [731]
    assert weighted.tolist() == [1097]
    assert lost == 0


@given(
    st.lists(st.integers(LOW, HIGH), min_size=3, max_size=3),
    st.lists(st.integers(-(1 << 15), (1 << 15) - 1), min_size=6, max_size=6),
    st.integers(-6, 6), st.integers(-20, 62), st.integers(-20, 62),
)  # fmt: skip
def test_a_gate_is_exact_arithmetic(y, numbers, silu_shift, shift, weight_shift):
    z, weight = numbers[:3], numbers[3:]
    g, weighted, lost = Gate()(
        np.array([y]), np.array([z]), silu_shift, shift, np.array(weight), weight_shift
    )
    count = 0
    for i, silu in enumerate(Silu()(np.array(z), silu_shift).tolist()):
        product = half_up(y[i] * silu, shift)
        kept = clamp(product, LOW, HIGH)
        scaled = half_up(kept * weight[i], weight_shift)
        assert g[0, i] == kept
        assert weighted[0, i] == clamp(scaled, LOW, HIGH)
        count += int(kept != product) + int(weighted[0, i] != scaled)
    assert lost == count


def test_worked_transform():
    """Two groups of three, padded to four: sums and differences, halved and rounded up."""
    op = OnlineHadamard(4, pad=4)
    out, lost = op(np.array([[1, 2, 4, 10, 20, 41]]), 2, 1)
    #  1 + 2 + 4, 1 - 2 + 4, 1 + 2 - 4, 1 - 2 - 4; 10 + 20 + 41, ...
    assert out.tolist() == [[4, 2, 0, -2, 36, 16, -5, -25]]
    assert lost == 0


@pytest.mark.parametrize(
    ("order", "pad", "group_dim", "size", "padded"),
    [
        (128, 128, 192, 128, 256),
        (0, 128, 1536, 1536, 1536),
        (0, 128, 5120, 5120, 5120),
        (0, 128, 100, 128, 128),
        (1, 128, 300, 1, 384),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_transform_is_block_diagonal_in_padded_groups(
    order, pad, group_dim, size, padded, groups
):
    op = OnlineHadamard(order, pad)
    assert (op.padded(group_dim), op.size(group_dim)) == (padded, size)
    if size > 2048:
        group_dim, size, padded = 80, 80, 80  # the same at a size that a matrix can check
        op = OnlineHadamard(order, 80)
    rng = np.random.default_rng(group_dim)
    x = rng.integers(LOW, HIGH + 1, (2, groups * group_dim))
    out, lost = op(x, groups, 5)
    wide = np.zeros((2, groups, padded), np.int64)
    wide[..., :group_dim] = x.reshape(2, groups, group_dim)
    blocks = wide.reshape(-1, size) @ hadamard(size).T
    want = np.floor_divide(blocks + 16, 32)
    assert_array_equal(out, want.reshape(2, -1))
    assert lost == 0


def test_a_transform_saturates_to_32_bits_and_counts():
    x = np.full((1, 1024), LOW)
    out, lost = OnlineHadamard(0, 1024)(x, 1, 0)
    assert out[0, 0] == -(1 << 31)
    assert lost == 1
    assert not out[0, 1:].any()
