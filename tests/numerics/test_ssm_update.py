"""The update of an 8-bit state in 16 bits: exact, within its widths, as good as a frame."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.primitives import round_shift
from lightmamba.numerics.ssm import SsmStep
from lightmamba.numerics.ssm_update import (
    BlockUpdate,
    FrameUpdate,
    Update,
    decay_dither,
    decay_factor,
    input_factor,
    unit_of,
)
from tests.numerics.exact import clamp, half_up, power

TOP_DECAY = (1 << 24) - 1
DTX = [0, 1, -1, 5, 8322945, (1 << 23) - 1, -(1 << 23), (1 << 22) - 1, -(1 << 22), 32767]
SHIFTS = [-31, -8, 0, 3, 8, 15, 16, 17, 24, 31, 62]
EXPONENTS = [0, 1, 7, 12, 23, 24]


def one(h, e, decay, dtx, B, shift, token=0, rounding="dither"):
    """Update a row of one block: q, exponent, saturated blocks."""
    q, exp, lost = BlockUpdate(Pow2Block(8, len(h)), rounding)(
        np.array(h)[None, None, None], np.full((1, 1, 1, 1), e), np.array([[decay]]),
        np.array([[[dtx]]]), np.array(B)[None, None], np.full((1, 1, 1, 1), shift),
        np.array([token]),
    )  # fmt: skip
    return q[0, 0, 0].tolist(), int(exp[0, 0, 0, 0]), lost


def exactly(h, e, decay, dtx, B, shift, token=0, rounding="dither", head=0, row=0, d_state=0):
    """The same in Python's numbers, and the sums before they are rounded."""
    dithered = rounding == "dither"
    size = dtx.bit_length() if dtx >= 0 else (-dtx - 1).bit_length()
    top = max(e, size - shift) if dtx else e
    threshold = 2 * ((159 * token + 193 * head) % 256) + 1 if dithered else 256
    a = math.floor((decay * power(-min(top - e, 15)) + threshold) / 512)
    a, m = min(a, 32767), clamp(half_up(dtx, shift + top - 15), -32768, 32767)
    v = [half_up(x * a, 8) + half_up(b * m, 8) for x, b in zip(h, B, strict=True)]
    size = max((x if x >= 0 else -x - 1).bit_length() for x in v)
    exp, q = max(top + size - 14, 0) if any(v) else 0, []
    for n, x in enumerate(v):
        d = (159 * (row * d_state + n) + 193 * token) % 256 if dithered else 128
        rounded = math.floor(x * power(top - 7 - exp) + Fraction(d, 256)) if any(v) else 0
        q.append(clamp(rounded, -127, 127))
    return (q, min(exp, 24), int(exp > 24)), v, top


STEP = {
    "h": st.lists(st.integers(-127, 127), min_size=4, max_size=4),
    "e": st.sampled_from(EXPONENTS) | st.integers(0, 24),
    "decay": st.sampled_from([0, 1, 511, 1 << 23, TOP_DECAY]) | st.integers(0, TOP_DECAY),
    "dtx": st.sampled_from(DTX) | st.integers(-(1 << 23), 1 << 23),
    "B": st.lists(st.sampled_from([-127, 127, 0]) | st.integers(-127, 127), min_size=4, max_size=4),
    "shift": st.sampled_from(SHIFTS) | st.integers(-31, 62),
    "token": st.integers(0, 1 << 40),
    "rounding": st.sampled_from(["dither", "half_up"]),
}


@given(**STEP)
def test_an_update_is_exact_arithmetic(**step):
    expected, _, _ = exactly(**step)
    assert one(**step) == expected


@given(**STEP)
def test_an_update_is_near_the_real_one(**step):
    """Two units of the block, a step of the new state, and what -127 loses to -128."""
    q, e, lost = one(**step)
    top = exactly(**step)[2]
    for x, b, got in zip(step["h"], step["B"], q, strict=True):
        real = step["decay"] * x * power(step["e"] - 24) + step["dtx"] * b * power(-step["shift"])
        assert lost or abs(got * power(e) - real) <= 2 * power(top - 7) + 2 * power(e)


@pytest.mark.parametrize("rounding", ["dither", "half_up"])
def test_widths_at_the_ends(rounding):
    """Factors and sums in 16 bits, also when the sums are shifted; exponents below 64."""
    for e, dtx in product(EXPONENTS, DTX):
        assert_widths(e, dtx, rounding)


def assert_widths(e, dtx, rounding):
    limits = set()
    for shift in SHIFTS:
        top = int(unit_of(np.array(e), np.array(dtx), np.array(shift)))
        limits.add("old" if top == e > 0 else "new" if top else "least")
        assert 0 <= top <= 54
        for decay in (0, TOP_DECAY):
            for h, B in ((127, 127), (-127, -127), (127, -127), (-127, 127), (0, 127), (127, 0)):
                step = {"h": [h, -h], "e": e, "decay": decay, "dtx": dtx, "B": [B, B],
                        "shift": shift, "token": 1 << 40, "rounding": rounding}  # fmt: skip
                expected, v, _ = exactly(**step)
                assert one(**step) == expected, step
                assert max(map(abs, v)) <= 32512 < 1 << 15
                up = top + 1 - max(top + max((x ^ (x >> 63)).bit_length() for x in v) - 14, 0)
                assert 0 <= up <= 15
                assert all(-(1 << 15) <= x << up < 1 << 15 for x in v)
    assert ("old" in limits) == (e > 0)
    assert ("new" in limits) == (dtx != 0)
    assert ("least" in limits) == (e == 0)


def test_the_widest_sum_is_reached():
    step = {"h": [127, -127], "e": 16, "decay": TOP_DECAY, "dtx": (1 << 22) - 1, "B": [127, -127],
            "shift": 6}  # fmt: skip
    (_, e, _), v, top = exactly(**step)
    assert (v, top, e) == ([32512, -32512], 16, 17)
    assert one(**step) == exactly(**step)[0]


WORKED = [
    # Half of 100 at its own exponent; its unit is 2^-7, and 50 needs one bit less.
    ({"h": [100, 0], "decay": 1 << 23}, ([50, 0], 0, 0)),
    # 3/2 rounds up to 2, -3/2 to -1.
    ({"h": [3, -3], "decay": 1 << 23}, ([2, -1], 0, 0)),
    # The same at an exponent of 4 is exact: 24 is 24 at an exponent of 0.
    ({"h": [3, -3], "decay": 1 << 23, "e": 4}, ([24, -24], 0, 0)),
    # 100·1 at a shift of 0, and half of 60 at an exponent of 1.
    ({"h": [60, 0], "e": 1, "decay": 1 << 23, "dtx": 100, "B": [1, 1]}, ([80, 50], 1, 0)),
    # A value of 2^7 needs an exponent; -2^7 is held at -127 instead.
    ({"dtx": 128, "B": [1, 0]}, ([64, 0], 1, 0)),
    ({"dtx": -128, "B": [1, 0]}, ([-127, 0], 0, 0)),
    # 1 is a 64th of a step of the new exponent, and rounds to nothing.
    ({"h": [1, 0], "decay": TOP_DECAY, "dtx": 64, "B": [0, 64], "e": 0}, ([0, 64], 6, 0)),
    # -1 in the unit of the block, and nothing else: -128 steps, held at -127.
    ({"h": [0, -1], "e": 20, "decay": 1 << 17}, ([0, -127], 6, 0)),
    # dt·x = 0 has no place: the exponent stays, whatever the shift.
    ({"h": [1, 64], "e": 3, "decay": TOP_DECAY, "shift": -31}, ([1, 64], 3, 0)),
    # 2^31 - 2^24 is the largest; above it the exponent stays at 24.
    ({"h": [127, 1], "e": 24, "decay": TOP_DECAY}, ([127, 1], 24, 0)),
    ({"h": [127, 1], "e": 24, "decay": TOP_DECAY, "dtx": 1, "B": [1, 0], "shift": -30},
     ([96, 1], 24, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), WORKED)
def test_worked_values(given, expected):
    blank = {"h": [0, 0], "e": 0, "decay": 0, "dtx": 0, "B": [0, 0], "shift": 0}
    assert one(**(blank | given), rounding="half_up") == expected


def test_the_decay_is_right_on_average():
    """Over 256 positions, to half a unit of 2^-24, and each head meets each threshold once."""
    position, head = np.arange(256), np.arange(80)[:, None]
    assert (np.sort(decay_dither(position, head)) == 2 * np.arange(256) + 1).all()
    for decay in (0, 1, 511, 512, 12345678, (1 << 24) - 1024):
        for right in (0, 1, 9, 15):
            factors = decay_factor(
                np.array(decay), np.array(right), decay_dither(position, np.array(7))
            )
            assert int(factors.sum()) == ((decay >> right) + 1) // 2


def test_the_dithers_of_decay_and_elements_are_not_in_step():
    """Wherever an element's threshold lies, that of the decay is spread evenly: within 1/8."""
    position = np.arange(256)
    d, D = (193 * position) % 256, decay_dither(position, np.array(0)) // 2
    for start in range(0, 256, 32):
        near = np.sort(D[(d >= start) & (d < start + 32)])
        gaps = np.diff(np.append(near, near[0] + 256))
        assert gaps.max() <= 32


def test_a_factor_of_one_is_not_missed():
    """32767 leaves every element as it is."""
    q = np.arange(-127, 128)
    np.testing.assert_array_equal(round_shift(q * 32767, 8), q << 7)
    assert int(decay_factor(np.array(TOP_DECAY), np.array(0), np.array(511))) == 32767
    assert int(input_factor(np.array((1 << 22) - 1), np.array(7))) == 32767
    assert int(input_factor(np.array(-(1 << 22)), np.array(7))) == -32768


def test_nothing_comes_of_nothing():
    nothing = [0] * 32, 0, 0
    for token in range(0, 256, 5):
        assert one([0] * 32, 9, TOP_DECAY, 0, [127] * 32, 0, token) == nothing, token
        assert one([0] * 32, 9, TOP_DECAY, 8322945, [0] * 32, -31, token) == nothing, token


def test_which_states_are_updated_so():
    assert isinstance(SsmStep(8).updater, BlockUpdate)
    for bits in (9, 16):
        assert isinstance(SsmStep(bits).updater, FrameUpdate)


@pytest.mark.parametrize("rate", [3e-3, 3e-2, 0.3, 3.0])
def test_16_bits_are_as_good_as_a_frame(rate):
    """Against float64 over 600 tokens, with dt and x that vary."""
    rng, decay, block = np.random.default_rng(0), round(math.exp(-rate) * 2**24), Pow2Block(8, 32)
    real, size = np.zeros((32, 32)), 0.0
    updates: tuple[Update, ...] = BlockUpdate(block), FrameUpdate(block)
    states = [(np.zeros((1, 1, 32, 32), int), np.zeros((1, 1, 32, 1), int))] * 2
    errors = [0.0, 0.0]
    for token in range(600):
        dtx = rng.integers(-100, 101, 32) * int(rng.integers(500, 60000))
        B = rng.integers(-100, 101, 32)
        real = real * (decay / 2**24) + dtx[:, None] * B * 2.0**-8
        size += float((real**2).sum())
        for n, update in enumerate(updates):
            h, e, lost = update(
                *states[n], np.array([[decay]]), dtx[None, None], B[None, None],
                np.full((1, 1, 32, 1), 8), np.array([token]),
            )  # fmt: skip
            states[n] = h, e
            errors[n] += float((((h << e)[0, 0] - real) ** 2).sum())
            assert lost == 0
    ours, frame = (math.sqrt(error / size) for error in errors)
    assert ours < 1.02 * frame
    assert ours < 0.12
