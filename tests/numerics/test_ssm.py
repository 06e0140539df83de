"""Discretization, state update and output of the state-space model."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.numerics.ssm import Discretize, SsmStep
from lightmamba.numerics.ssm_update import FrameUpdate, merge, round_dithered
from lightmamba.numerics.tables import Softplus
from tests.numerics.exact import clamp, docs, half_up, power, stated

DISCRETIZE = Discretize()
ALL = (-32768, 32767)
X = np.arange(*ALL)
FRAME = (1 << 31) - 1


def mantissa_of(A):
    """A·log2 e as a 15-bit mantissa and a right shift."""
    value = A * math.log2(math.e)
    shift = 14 - math.floor(math.log2(value * (1 + 2.0**-16)))
    return np.array([math.floor(value * 2.0**shift + 0.5)]), np.array([shift])


def test_the_worst_decays_are_those_of_the_docstring():
    """Every dt, at slow and fast rates and at some between them."""
    rates = [2.0**k for k in range(-12, 6)] + [1e-6, 60.0]
    worst = worst_real = 0.0
    for A in (*rates, *np.random.default_rng(0).uniform(0.1, 16, 24)):
        q, shift = mantissa_of(A)
        assert 1 << 14 <= q[0] < 1 << 15
        m, s, decay, lost = DISCRETIZE(X[:, None], np.array([0]), ALL, q, shift)
        assert lost == 0
        assert 0 <= decay.min() <= decay.max() < 1 << 24
        exact = np.exp2(24 - m * 2.0**-s * q * 2.0**-shift)
        worst = max(worst, np.abs(decay - exact).max())
        real = np.exp(-np.logaddexp(0, X[:, None] / 2048) * A)
        worst_real = max(worst_real, np.abs(decay * 2.0**-24 - real).max())
    assert stated(worst) == "2.2"
    assert "within 2.2 units" in docs(Discretize)
    # 1.5e-4 of dt and 2^-15 of A, times the largest of t·exp(-t), and the units
    bound = (1.48e-4 + 2.0**-15) / math.e + 2.2 * 2.0**-24
    assert stated(bound) == "6.6e-5"
    assert 5e-5 < worst_real < bound
    assert "within 6.6e-5" in docs(Discretize)


@pytest.mark.parametrize("slow", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3])
def test_slow_decays_keep_their_rate(slow):
    """1 - decay is within 1.5 units of 2^-24 of dt·A, so a rate of 1e-5 is right to 1 %."""
    for dt in (0.001, 0.0123, 0.1):
        x = np.array([[Softplus().limits(dt, 1.0)[0]]])
        q, shift = mantissa_of(slow / dt)
        _, _, decay, _ = DISCRETIZE(x, np.array([0]), ALL, q, shift)
        rate = -np.expm1(-np.log1p(np.exp(x[0, 0] / 2048)) * slow / dt) * 2.0**24
        assert (1 << 24) - int(decay[0, 0]) == pytest.approx(rate, abs=1.5, rel=1.6e-4)
        assert decay[0, 0] < 1 << 24


def test_dt_is_biased_saturated_and_clamped():
    low, high = Softplus().limits(0.01, 0.5)
    rows = np.array([[-32768, 30000, 0, -9000]])
    bias = np.array([-100, 5000, 700, 2000])
    A, shift = np.array([20000] * 4), np.array([14] * 4)
    mantissa, dt_shift, decay, lost = DISCRETIZE(rows, bias, (low, high), A, shift)
    assert lost == 2
    dt = mantissa * 2.0**-dt_shift
    assert_allclose(dt[0], [0.01, 0.5, 0.5, math.log1p(math.exp(-7000 / 2048))], rtol=5e-4)
    assert_allclose(decay[0], 2.0**24 * 2.0 ** -(dt[0] * 20000 / 16384), atol=2.2)


def test_worked_dither():
    """100/16 = 6.25: three quarters of the thresholds leave 6, one quarter makes 7."""
    d = np.arange(256)
    got = round_dithered(np.full(256, 100), np.full(256, 4), d)
    assert got.tolist() == [6] * 192 + [7] * 64
    got = round_dithered(np.full(256, -100), np.full(256, 4), d)
    assert got.tolist() == [-7] * 64 + [-6] * 192


@given(st.integers(-FRAME, FRAME), st.integers(0, 24), st.integers(0, 255))
def test_dither_is_the_floor_of_the_exact_sum(v, exponent, d):
    exact = v * power(-exponent) + Fraction(2 * d + 1, 512)
    assert int(round_dithered(np.array(v), exponent, d)) == math.floor(exact)


@given(st.integers(-FRAME, FRAME), st.integers(0, 24))
def test_the_mean_over_256_thresholds_is_the_value(v, exponent):
    """To half a 256th of a unit on either side: exactly that where the exponent is at most 8."""
    total = int(round_dithered(np.full(256, v), exponent, np.arange(256)).sum())
    assert total == math.floor(256 * v * power(-exponent) + Fraction(1, 2))
    if exponent <= 8:
        assert Fraction(total, 256) == v * power(-exponent)


@given(
    st.integers(0, (1 << 24) - 1), st.integers(-32767, 32767), st.integers(0, 16),
    st.integers(-(127 << 24), 127 << 24), st.integers(-31, 62),
)  # fmt: skip
def test_merge_rounds_each_part(decay, h, h_exp, product, shift):
    got = merge(*(np.array(v) for v in (decay, h, h_exp, product, shift)))
    assert int(got) == half_up(decay * h, 24 - h_exp) + half_up(product, shift)


def random_step(op, seed, d_state=64, heads=2, headdim=3):
    rng = np.random.default_rng(seed)
    top, blocks = op.scale.form.max, d_state // op.block
    return {
        "h": rng.integers(-top, top + 1, (2, heads, headdim, d_state)),
        "h_exp": rng.integers(0, 33 - op.bits, (2, heads, headdim, blocks)),
        "decay": rng.integers(0, 1 << 24, (2, heads)),
        "dtx": rng.integers(-(1 << 23), 1 << 23, (2, heads, headdim)),
        "B": rng.integers(-127, 128, (2, heads, d_state)),
        "shift": rng.integers(-6, 20, (2, heads, headdim, blocks)),
        "token": rng.integers(0, 1 << 40, 2),
    }


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("rounding", ["dither", "half_up"])
@pytest.mark.parametrize("block", [16, 32])
def test_an_update_in_a_frame_is_exact_arithmetic(bits, rounding, block):
    op = SsmStep(bits, block, rounding)
    s = random_step(op, bits)
    got, got_exp, lost = FrameUpdate(op.scale, rounding)(**s)
    high, count = (1 << (bits - 1)) - 1, 0
    for b, head, p, n in np.ndindex(got_exp.shape):
        frame = []
        for i in range(n * block, (n + 1) * block):
            h, k = int(s["h"][b, head, p, i]), int(s["h_exp"][b, head, p, n])
            product = int(s["dtx"][b, head, p]) * int(s["B"][b, head, i])
            wide = half_up(int(s["decay"][b, head]) * h, 24 - k)
            wide += half_up(product, int(s["shift"][b, head, p, n]))
            frame.append(clamp(wide, -FRAME, FRAME))
            count += wide != frame[-1]
        e = max(0, max(map(abs, frame)).bit_length() - (bits - 1))
        assert got_exp[b, head, p, n] == e
        for i, v in enumerate(frame):
            at = n * block + i
            d = (159 * (p * 64 + at) + 193 * int(s["token"][b])) % 256
            exact = v * power(-e)
            q = math.floor(
                exact + (Fraction(2 * d + 1, 512) if rounding == "dither" else Fraction(1, 2))
            )
            assert got[b, head, p, at] == clamp(q, -high, high)
    assert lost == count
    assert count > 0


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("shift", [0, 3, 30])
def test_reading_is_exact_arithmetic(bits, shift):
    op = SsmStep(bits)
    s = random_step(op, 7)
    rng = np.random.default_rng(8)
    C = rng.integers(-127, 128, (2, 2, 64))
    C_exp = rng.integers(0, 10, (2, 2, 2))
    y, lost = op.read(s["h"], s["h_exp"], C, C_exp, shift)
    count = 0
    for b, head, p in np.ndindex(y.shape):
        total = sum(
            (int(s["h"][b, head, p, i]) * int(C[b, head, i]))
            << int(s["h_exp"][b, head, p, i // 32] + C_exp[b, head, i // 32])
            for i in range(64)
        )
        wide = half_up(total, shift)
        assert y[b, head, p] == clamp(wide, -(1 << 23), (1 << 23) - 1)
        count += int(y[b, head, p] != wide)
    assert lost == count
    assert (lost > 0) == (shift < 30)


def test_worked_output():
    """h·C = (3·2 + 5·(-1))·2^(2 + 1) = 8, halved 4; D·x = 7·3 / 4 = 5.25 adds 5."""
    op = SsmStep(block=2)
    y, lost = op.read(
        np.array([[[[3, 5]]]]), np.array([[[[2]]]]), np.array([[[2, -1]]]), np.array([[[1]]]), 1
    )
    assert (y.tolist(), lost) == ([[[4]]], 0)
    out, lost = op.skip(y, np.array([7]), np.array([[[3]]]), np.array([[[2]]]))
    assert (out.tolist(), lost) == ([[[9]]], 0)
    out, lost = op.skip(y, np.array([7]), np.array([[[-3]]]), np.array([[[-40]]]))
    assert (out.tolist(), lost) == ([[[-(1 << 23)]]], 1)
    out, lost = op.skip(y, np.array([7]), np.array([[[-3]]]), np.array([[[70]]]))
    assert (out.tolist(), lost) == ([[[4]]], 0)


def run(op, decay, tokens, value=100):
    """Mean of a state of 4 · 32 equal elements that nothing feeds, in units of its beginning."""
    h, h_exp = np.full((1, 1, 4, 32), value), np.full((1, 1, 4, 1), 16)
    silent = {
        "decay": np.array([[decay]]), "dtx": np.zeros((1, 1, 4), int),
        "B": np.zeros((1, 1, 32), int), "shift": np.zeros((1, 1, 4, 1), int),
    }  # fmt: skip
    for token in range(tokens):
        h, h_exp, lost = op.update(h=h, h_exp=h_exp, token=np.array([token]), **silent)
        assert lost == 0
    return float((h << h_exp).mean() / (value << 16))


@pytest.mark.parametrize("value", [100, -100])
def test_a_slow_decay_moves_a_dithered_state_and_sticks_when_rounded_half_up(value):
    """1 - a = 1/1000: half a life in 693 tokens, and never below a step of 1/254 half up."""
    decay = round((1 << 24) * (1 - 1e-3))
    assert run(SsmStep(8, 32, "half_up"), decay, 400, value) == 1.0
    assert run(SsmStep(8, 32, "dither"), decay, 400, value) == pytest.approx(
        math.exp(-0.4), rel=0.02
    )
    assert run(SsmStep(16, 32, "half_up"), decay, 400, value) == pytest.approx(
        math.exp(-0.4), rel=0.01
    )


def test_steps_of_other_widths_are_refused():
    for bits in (7, 17):
        with pytest.raises(ValueError, match=rf"state bits must be in 8\.\.16, not {bits}"):
            SsmStep(bits)
    with pytest.raises(ValueError, match="must be 'dither' or 'half_up', not 'nearest'"):
        SsmStep(rounding="nearest")


def test_the_inputs_of_a_step_are_left_as_they_are():
    op = SsmStep()
    s = random_step(op, 1)
    before = {name: value.copy() for name, value in s.items()}
    op.update(**s)
    for name, value in s.items():
        assert_array_equal(value, before[name])
