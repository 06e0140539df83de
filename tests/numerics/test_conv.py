"""Causal convolution and SiLU."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.conv import CausalConv, Silu, gate_by_sigmoid
from tests.numerics.exact import clamp, half_up

CONV, SILU = CausalConv(), Silu()


def random_conv(seed, batch, seqlen, channels, taps=4):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(-(1 << 15), 1 << 15, (batch, seqlen, channels)),
        rng.integers(-128, 128, (batch, taps - 1, channels)).astype(np.int8),
        rng.integers(0, 12, channels),
        rng.integers(-128, 128, (taps, channels)),
        rng.integers(-(1 << 23), 1 << 23, channels),
        rng.integers(-4, 14, channels),
    )


def by_hand(x, state, in_shift, weight, bias, out_shift):
    """One channel of one sequence in Python's integers: outputs, state, overflows."""
    shifted = [half_up(int(v), int(in_shift)) for v in x]
    line = [int(v) for v in state] + [clamp(v, -128, 127) for v in shifted]
    wide = [
        half_up(int(bias) + sum(line[t + k] * int(w) for k, w in enumerate(weight)), int(out_shift))
        for t in range(len(x))
    ]
    out = [clamp(v, -(1 << 15), (1 << 15) - 1) for v in wide]
    lost_in = sum(not -128 <= v <= 127 for v in shifted)
    lost_out = sum(a != b for a, b in zip(out, wide, strict=True))
    return out, line[len(x) :], lost_in, lost_out


def test_worked_values():
    """Taps 1, 2, 3, 4 from the oldest on, bias 100, halved: (7·1 + 10·4 + 100)/2 = 73.5 goes up."""
    x = np.array([[[20], [-5], [400]]])
    state = np.array([[[7], [0], [0]]], np.int8)
    weight = np.array([[1], [2], [3], [4]])
    out, after, lost = CONV(
        x, state, np.array([1]), weight, np.array([100]), np.array([1])
    )  # fmt: skip
    # 20 / 2 = 10; -5 / 2 = -2.5 rounds to -2; 400 / 2 = 200 saturates to 127
    assert out[0, :, 0].tolist() == [74, (10 * 3 - 2 * 4 + 100) // 2, 622 // 2]
    assert after[0, :, 0].tolist() == [10, -2, 127]
    assert after.dtype == np.int8
    assert lost == (1, 0)


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([2, 3, 4]))
def test_a_convolution_is_exact_arithmetic(seed, seqlen, taps):
    x, state, in_shift, weight, bias, out_shift = random_conv(seed, 2, seqlen, 3, taps)
    out, after, lost = CONV(x, state, in_shift, weight, bias, out_shift)
    counts = [0, 0]
    for s, c in np.ndindex(2, 3):
        wanted, line, lost_in, lost_out = by_hand(
            x[s, :, c], state[s, :, c], in_shift[c], weight[:, c], bias[c], out_shift[c]
        )
        assert out[s, :, c].tolist() == wanted
        assert after[s, :, c].tolist() == line
        counts[0] += lost_in
        counts[1] += lost_out
    assert lost == tuple(counts)


def test_the_state_that_comes_in_is_left_as_it_is():
    x, state, *rest = random_conv(2, 1, 2, 3)
    before = state.copy()
    CONV(x, state, *rest)
    assert_array_equal(state, before)


@pytest.mark.parametrize(
    ("x", "sigma", "want"), [(1, 32768, 1), (-1, 32768, 0), (3, 16384, 1), (-32768, 65535, -32767)]
)
def test_worked_gating(x, sigma, want):
    """0.5 goes up, -0.5 goes up to 0; 3/4 is 1; -32767.5 goes up."""
    assert gate_by_sigmoid(np.array(x), np.array(sigma)) == want


@pytest.mark.parametrize("shift", [-6, -2, 0, 1, 4])
def test_silu_of_every_int16(shift):
    """Half a unit of rounding, and of x·σ what the table and the input's rounding leave."""
    x = np.arange(-(1 << 15), 1 << 15)
    got = SILU(x, shift)
    real = x * 2.0 ** (-11 - shift)
    exact = x * np.exp(-np.logaddexp(0, -real))
    slope = 0.25 * 2.0**-12 if shift > 0 else 0.0  # of σ, times half a unit of Q5.11
    tail = np.where(np.abs(real) > 16, np.abs(x) * 1.2e-7, 0)  # the table ends at ±16
    bound = 0.5 + np.abs(x) * (2.4e-5 + slope) + tail
    assert (np.abs(got - exact) <= bound).all()
    assert (np.abs(got) <= np.abs(x)).all()
    assert got.dtype == np.int64


def test_worked_silu():
    """At exponent -11: silu(1) = 0.731, silu(-1) = -0.269; far out it is x or 0."""
    got = SILU(np.array([2048, -2048, 0, 32767, -32768]), 0)
    assert got.tolist() == [1497, -551, 0, 32767, 0]


def test_silu_takes_a_shift_per_channel():
    x = np.array([[1000, 1000], [-77, -77]])
    got = SILU(x, np.array([0, 3]))
    assert_array_equal(got[:, 0], SILU(x[:, 0], 0))
    assert_array_equal(got[:, 1], SILU(x[:, 1], 3))
