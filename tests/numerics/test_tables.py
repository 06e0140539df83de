"""Tables over their whole domain against float64; the worst errors are those of the docstrings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.tables import Exp2, Rsqrt, Sigmoid, Softplus, interpolate, tables
from tests.numerics.exact import docs, half_up, stated

X = np.arange(-(1 << 15), 1 << 15)  # every Q5.11
REAL = X / 2048.0
SIGMOID, SOFTPLUS, EXP2, RSQRT = tables()


@pytest.mark.parametrize(
    ("base", "delta", "fraction", "bits", "want"),
    [(10, 4, 0, 3, 10), (10, 4, 1, 3, 11), (10, -4, 1, 3, 10), (10, -4, 3, 3, 9), (7, 5, 0, 0, 7)],
)
def test_worked_interpolation(base, delta, fraction, bits, want):
    """10 + 0.5 goes up to 11, 10 - 0.5 up to 10, 10 - 1.5 up to 9."""
    assert interpolate(base, delta, fraction, bits) == want


@given(st.integers(0, 1 << 24), st.integers(-(1 << 16), 1 << 16), st.integers(0, 14), st.data())
def test_interpolation_rounds_half_up(base, delta, bits, data):
    fraction = data.draw(st.integers(0, (1 << bits) - 1))
    assert interpolate(base, delta, fraction, bits) == base + half_up(delta * fraction, bits)


def test_sigmoid_everywhere():
    got = SIGMOID(X)
    assert (got.min(), got.max()) == (0, 65535)
    assert (np.diff(got) >= 0).all()
    worst = np.abs(got / 65536 - 1 / (1 + np.exp(-REAL))).max()
    assert stated(worst) == "2.4e-5"
    assert "Worst error 2.4e-5" in docs(Sigmoid)


def test_worked_sigmoid():
    assert SIGMOID(np.array([0, 2048, -2048])).tolist() == [32768, 47911, 17625]


def test_softplus_everywhere():
    mantissa, shift = SOFTPLUS(X)
    assert 0 < mantissa.min() < mantissa.max() <= 65535
    assert (shift.min(), shift.max()) == (11, 39)
    got = mantissa * 2.0**-shift
    assert (np.diff(got) > 0).all()
    worst = np.abs(got / np.logaddexp(0, REAL) - 1).max()
    assert stated(worst) == "1.5e-4"
    assert "Worst relative error 1.5e-4" in docs(Softplus)


def test_worked_softplus():
    """ln 2 is 45426·2^-16, softplus(-16) is 1.125e-7."""
    mantissa, shift = SOFTPLUS(np.array([0, -32768]))
    assert mantissa[0] * 2.0 ** -shift[0] == pytest.approx(math.log(2), rel=2e-5)
    assert mantissa[1] * 2.0 ** -shift[1] == pytest.approx(1.12535e-7, rel=2e-5)


@pytest.mark.parametrize(
    ("low", "high"), [(0.001, 0.1), (1e-4, 1.0), (0.0, 0.5), (0.02, math.inf), (1e-6, 15.0)]
)
def test_limits_clamp_dt_to_the_range_asked_for(low, high):
    first, last = SOFTPLUS.limits(low, high)
    mantissa, shift = SOFTPLUS(np.clip(X, first, last))
    dt = mantissa * 2.0**-shift
    half_step = 2.0**-12 + 1.5e-4  # of the input, and the table's own error; relative
    if low:
        assert dt.min() == pytest.approx(low, rel=half_step)
    else:
        assert first == -32768
    if high < math.inf:
        assert dt.max() == pytest.approx(high, rel=half_step)
    else:
        assert last == 32767


def test_limits_beyond_the_table_leave_it_whole():
    assert SOFTPLUS.limits(0.0, math.inf) == (-32768, 32767)
    assert SOFTPLUS.limits(1e-9, 1e4) == (-32768, 32767)


def test_exp2_at_all_fractions():
    low = high = 0.0
    previous = 1 << 24
    for start in range(0, 1 << 24, 1 << 21):
        t = np.arange(start, start + (1 << 21))
        got = EXP2(t)
        assert (np.diff(got) <= 0).all()
        assert got[0] <= previous
        previous = int(got[-1])
        error = got - np.exp2(24 - t * 2.0**-24)
        low, high = min(low, error.min()), max(high, error.max())
    assert low == -1.0  # at t = 0, where the result is 1 - 2^-24
    assert stated(high) == "1.9"
    assert "worst error 1.9 units of 2^-24" in docs(Exp2)


def test_exp2_shifts_by_the_whole_part():
    fraction = np.append(np.arange(0, 1 << 24, 9973), (1 << 24) - 1)
    unshifted = EXP2(fraction).astype(object)
    unshifted[0] = 1 << 24  # the only value that saturates
    for whole in (1, 2, 7, 23, 24, 25, 31):
        want = [half_up(v, whole) for v in unshifted]
        assert_array_equal(EXP2(fraction + (whole << 24)), want)


def test_exp2_at_its_edges():
    assert EXP2.top == (32 << 24) - 1
    assert EXP2(np.array([0, 1, 1 << 24, 24 << 24, EXP2.top])).tolist() == [
        16777215, 16777215, 1 << 23, 1, 0,
    ]  # fmt: skip


def test_rsqrt_at_every_normalized_mantissa():
    f = np.arange(1 << 14, 1 << 16)
    mantissa, j = RSQRT(f)
    assert not j.any()
    assert (mantissa.min(), mantissa.max()) == (1 << 15, 65535)
    assert (np.diff(mantissa) <= 0).all()
    worst = np.abs(mantissa * np.sqrt(f) * 2.0**-23 - 1).max()
    assert stated(worst) == "2.9e-5"
    assert "Worst relative error of the table 2.9e-5" in docs(Rsqrt)


def test_normalization_of_rsqrt():
    """f·4^j <= s < (f + 1)·4^j with f in 2^14..2^16 - 1: at every bit length and its edges."""
    values = [v for k in range(62) for v in (1 << k, (1 << k) + 1, (3 << k) >> 1, (2 << k) - 1)]
    f, j = Rsqrt.normalize(np.array(values))
    assert (j.min(), j.max()) == (-7, 23)
    assert (f.min(), f.max()) == (1 << 14, (1 << 16) - 1)
    for s, mantissa, power in zip(values, f.tolist(), j.tolist(), strict=True):
        if power >= 0:
            assert mantissa == s >> 2 * power
        else:
            assert mantissa == s << -2 * power


@given(st.integers(1, (1 << 62) - 1))
def test_rsqrt_of_any_sum(s):
    """The table's error and that of the cut, 2^-15."""
    mantissa, j = RSQRT(np.array([s]))
    exact = 2.0**23 / math.sqrt(s)
    assert float(mantissa[0]) * 2.0 ** -int(j[0]) == pytest.approx(exact, rel=2.9e-5 + 2.0**-15)


def test_worked_rsqrt():
    """1/5 is 52429·2^-18; 1/2 is 65536·2^-17, which saturates to 65535; so does 1/256."""
    mantissa, j = RSQRT(np.array([25, 4, 1 << 16]))
    assert mantissa.tolist() == [52429, 65535, 65535]
    assert j.tolist() == [-5, -6, 1]
