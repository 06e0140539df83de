import dataclasses
import decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightmamba.common.errors import InputError
from lightmamba.numerics import sampling
from lightmamba.numerics.draw import X_END, exp2_weight
from lightmamba.numerics.sampling import Sampler
from lightmamba.numerics.sampling_options import SamplingOptions

GOLDEN_IDS = [85, 36, 28, 99, 28, 20, 69, 6, 47, 36, 58, 30, 96, 39, 93, 88, 47, 20, 77, 74]
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
ONE = 1 << 31  # weight of the most probable id


def make_sampler(exponent=0, vocab=4, **options):
    return Sampler(SamplingOptions(**options), exponent, vocab)


def scores(*values):
    return np.array(values, dtype=np.int64)


def candidates(sampler, values):
    """Ids of a row that may be drawn, in order, and their weights."""
    x, weights = sampler._weights(values)
    ids, edges, _ = sampler._kept(*sampling._ordered(values, x, weights, X_END))
    return ids, np.diff(edges, prepend=0)


def draw_many(sampler, logits, count):
    """Ids (batch, count) from the same logits (batch, vocab), again and again."""
    state, drawn = sampler.empty_state(len(logits)), []
    for _ in range(count):
        ids, state = sampler(logits, state)
        drawn.append(ids)
    return np.stack(drawn, axis=1)


# --- weights and filters


@given(
    logits=st.lists(INT32, min_size=1, max_size=9),
    exponent=st.integers(-40, 0),
    temperature=st.sampled_from([0.01, 0.3, 0.7, 1, 1.7, 100]),
)
def test_weights_equal_float_softmax(logits, exponent, temperature):
    sampler = make_sampler(exponent, len(logits), temperature=temperature)
    ids, weights = candidates(sampler, scores(*logits))
    exact = np.exp((np.array(logits) - max(logits)) * 2.0**exponent / temperature)
    found = np.zeros(len(logits))
    found[ids] = weights / ONE
    # 7e-6: 16 fractional bits of the exponent and 24 of the multiplier; then one unit
    np.testing.assert_allclose(found, exact, rtol=7e-6, atol=2.0**-31)


def test_extreme_logits_do_not_wrap():
    """A penalized int32 minimum and maximum, the largest products there are."""
    sampler = make_sampler(-40, 2, temperature=100, repetition_penalty=100)
    extremes = scores(-(1 << 31), (1 << 31) - 1)
    penalized = sampler.penalize(extremes, np.array([True, False]))
    np.testing.assert_array_equal(penalized, [-100 << 31, (1 << 31) - 1])
    multiplier, shift = sampler.scale
    assert 202 * (1 << 31) * multiplier + (1 << shift) < 1 << 63
    ids, weights = candidates(sampler, penalized)
    # exp(-101 * 2**31 / 2**40 / 100) = 0.998029
    np.testing.assert_array_equal(ids, [1, 0])
    assert weights[1] / ONE == pytest.approx(0.998029, rel=7e-6)


def test_scale_fits_at_both_ends():
    """24 bits of multiplier, and a shift that an int64 product survives, for all options."""
    for exponent in range(-40, 1):
        for temperature in (0.01, 0.99, 1, 100):
            sampler = make_sampler(exponent, temperature=temperature)
            multiplier, shift = sampler.scale
            assert 1 << 23 <= multiplier <= 1 << 24
            assert 0 <= shift <= 54


def test_penalty_worked_values():
    """CTRL: 10 / 1.25 = 8, -10 * 1.25 = -12.5 and half up is -12; unseen ids keep theirs."""
    sampler = make_sampler(vocab=5, repetition_penalty=1.25)
    seen = np.array([True, True, False, False, True])
    found = sampler.penalize(scores(10, -10, 10, -10, 0), seen)
    assert found.tolist() == [8, -12, 10, -10, 0]
    raising = make_sampler(vocab=2, repetition_penalty=0.5)
    np.testing.assert_array_equal(raising.penalize(scores(10, -10), seen[:2]), [20, -5])


def test_penalties_of_drawn_ids_worked_values():
    """Logits in quarters: 0.5 for each time is 2 units, 0.25 for the first one more."""
    sampler = make_sampler(-2, 4, frequency_penalty=0.5, presence_penalty=0.25)
    drawn = np.array([0, 1, 3, 0], dtype=np.int32)
    found = sampler.subtract_penalties(scores(10, 10, 10, -10), drawn)
    assert found.tolist() == [10, 10 - 3, 10 - 7, -10]
    raising = make_sampler(-2, 4, frequency_penalty=-0.5)
    assert raising.subtract_penalties(scores(0, 0, 0, 0), drawn).tolist() == [0, 2, 6, 0]
    # 0.1 is 0.1 units of 2**0: a penalty is rounded once, after it is counted.
    fine = make_sampler(0, 4, frequency_penalty=0.1)
    np.testing.assert_array_equal(
        fine.subtract_penalties(scores(10, 10, 10, 10), np.array([1, 4, 5, 16], dtype=np.int32)),
        [10, 10, 9, 8],
    )


@pytest.mark.parametrize("exponent", [-40, -24, -23, -1, 0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_penalties_of_drawn_ids_do_not_wrap(exponent, sign):
    sampler = make_sampler(exponent, 2, frequency_penalty=2 * sign, presence_penalty=2 * sign)
    each, once, bits = sampler.subtracted
    assert abs(each) * sampling.COUNT_END + abs(once) + (1 << bits) < 1 << 62
    for count in (1, sampling.COUNT_END, (1 << 31) - 1):
        drawn = np.array([count, 0], dtype=np.int32)
        lowered = sampler.subtract_penalties(scores(-(1 << 31), (1 << 31) - 1), drawn)
        times = min(count, sampling.COUNT_END)
        exact = -(1 << 31) - sign * (2 * times + 2) * (1 << -exponent)
        assert lowered[0] == min(max(exact, -sampling.SCORE_END), sampling.SCORE_END)
        assert lowered[1] == (1 << 31) - 1
    multiplier, shift = sampler.scale
    assert 2 * sampling.SCORE_END * multiplier + (1 << shift) < 1 << 63


def test_the_prompt_counts_for_repetition_only():
    """Frequency and presence are those of the generated text, as at OpenAI."""
    logits = np.array([[10, 9, 8]], dtype=np.int32)
    sampler = make_sampler(0, 3, temperature=0, presence_penalty=1.5)
    state = sampler.observe(sampler.empty_state(1), np.array([[0, 0]]))
    ids, state = sampler(logits, state)
    assert ids[0] == 0  # although the prompt has it
    drawn = [int(ids[0])]
    for _ in range(3):
        ids, state = sampler(logits, state)
        drawn.append(int(ids[0]))
    assert drawn == [0, 1, 0, 0]  # 8 against 9, then 8 against 7 and 8
    assert make_sampler(-2, 3).empty_state(2).drawn.size == 0  # nothing is counted for nobody
    counting = make_sampler(0, 3, temperature=0, frequency_penalty=1)
    assert draw_many(counting, logits, 6)[0].tolist() == [0, 0, 1, 0, 1, 2]


# Powers of two: with temperature log2(e) one step of the logit is a factor of two.
HALVES = {"temperature": 1.4426950408889634, "exponent": 0}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [3, 1, 0, 2]),
        ({"top_k": 2}, [3, 1]),
        # probabilities 8/15, 4/15, 2/15, 1/15
        ({"top_p": 0.53333333333}, [3]),
        ({"top_p": 0.53333333334}, [3, 1]),
        ({"top_p": 0.8}, [3, 1]),  # exactly reached by 12/15
        ({"top_p": 0.81}, [3, 1, 0]),
        ({"top_p": 1e-9}, [3]),
        ({"min_p": 0.25}, [3, 1, 0]),
        ({"min_p": 0.2500000001}, [3, 1]),
        # top-k first: of 8/12 and 4/12 the first reaches 0.66 alone
        ({"top_k": 2, "top_p": 0.66}, [3]),
        ({"top_k": 3, "top_p": 0.95, "min_p": 0.5}, [3, 1]),
        # top-p before min-p: after min-p 0.5 the probabilities 2/3, 1/3 would leave id 3 alone
        ({"top_p": 0.6, "min_p": 0.5}, [3, 1]),
    ],
)
def test_filters_worked_values(options, kept):
    ids, weights = candidates(make_sampler(**HALVES, **options), scores(7, 8, 6, 9))
    np.testing.assert_array_equal(ids, kept)
    np.testing.assert_array_equal(weights, [ONE, ONE >> 1, ONE >> 2, ONE >> 3][: len(kept)])


def test_options_are_the_decimals_that_were_written():
    """0.1 is a tenth, not the binary number near it: ten equal ids, and one reaches 0.1."""
    ids, _ = candidates(make_sampler(vocab=10, top_p=0.1), scores(*[0] * 10))
    np.testing.assert_array_equal(ids, [0])
    for value in (np.float32(0.7), decimal.Decimal("0.7"), Fraction(7, 10)):
        same = make_sampler(temperature=value)
        assert same.scale == make_sampler(temperature=0.7).scale


# --- draws


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 1}])
def test_greedy_takes_the_lowest_of_the_largest(options):
    sampler = make_sampler(vocab=3, **options)
    ids, state = sampler(np.array([[1, 4, 4, 9], [7, 7, 7, 9]]), sampler.empty_state(2))
    np.testing.assert_array_equal(ids, [1, 0])
    np.testing.assert_array_equal(state.draws, [0, 0])


@pytest.mark.parametrize(
    ("draw", "expected"), [(0, 2), (ONE - 1, 2), (ONE, 0), (3 * ONE // 2 - 1, 0), (3 * ONE // 2, 1)]
)
def test_a_draw_falls_into_the_candidates_share(monkeypatch, draw, expected):
    """Shares 2**31, 2**30, 2**29 of the ids 2, 0, 1, one after the other."""
    monkeypatch.setattr(sampling, "uniform_below", lambda bound, **_: draw)
    sampler = make_sampler(vocab=3, **HALVES)
    ids, _ = sampler(np.array([[8, 7, 9]]), sampler.empty_state(1))
    np.testing.assert_array_equal(ids, [expected])


@settings(max_examples=300)
@example(1, 3000, -16, 1.0, 0, 1.0, 1e-6)  # of these four, some are wide
@example(2, 3000, -16, 1.0, 0, 1.0, 1e-6)
@example(4, 3000, -16, 1.0, 0, 1.0, 1e-6)
@example(5, 3000, -16, 1.0, 0, 1.0, 1e-6)
@given(
    st.integers(0, 2**32), st.sampled_from([3, 40, 3000]), st.integers(-24, -8),
    st.sampled_from([0.01, 0.5, 1.0, 100.0]), st.sampled_from([0, 2, 50, 2999, 5000]),
    st.sampled_from([1e-9, 0.3, 0.95, 1.0]), st.sampled_from([0.0, 1e-6, 0.05, 1.0]),
)  # fmt: skip
def test_a_draw_needs_no_whole_order(seed, vocab, exponent, temperature, top_k, top_p, min_p):
    """From all candidates in order, the same id, wherever the draw falls."""
    rng = np.random.default_rng(seed)
    if seed % 3:  # as those of a model: some halvings of the probability around the mean
        wide = rng.choice([0.5, 1.5, 3, 8]) * temperature / 2.0**exponent
        values = rng.normal(0, wide, vocab).clip(-(2**31), 2**31 - 1).astype(np.int64)
    else:
        values = rng.integers(-(1 << 31), 1 << 31, vocab) >> rng.integers(0, 16)
    values = values // rng.integers(1, 1000) if seed % 2 else values  # with and without equal ones
    sampler = make_sampler(
        exponent, vocab, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    ids, weights = candidates(sampler, values)
    edges = np.cumsum(weights)
    places = [0, int(edges[0]) - 1, int(edges[-1]) - 1, *rng.integers(0, edges[-1], 5).tolist()]
    for draw in places:
        bounds: list[int] = []
        found = sampler.choose(
            values, lambda bound, draw=draw, seen=bounds: seen.append(bound) or draw
        )
        assert set(bounds) == {int(edges[-1])}
        assert found == ids[np.searchsorted(edges, draw, side="right")]


@pytest.mark.parametrize("bits", [0, 23])  # both ways of sorting
@given(values=st.lists(st.integers(-3, 3), min_size=2, max_size=40))
def test_candidates_are_ordered_by_score_and_id(bits, values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_PLACE_BITS", bits)
        ids, weights = candidates(make_sampler(-2, len(values), temperature=1.0), scores(*values))
    wanted = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert ids.tolist() == wanted[: len(ids)]
    assert (np.diff(weights) <= 0).all()


def test_padded_ids_are_never_drawn():
    logits = np.array([[0, 0, 0, 1 << 20, 1 << 20]], dtype=np.int32)
    assert set(draw_many(make_sampler(vocab=3), logits, 100)[0]) == {0, 1, 2}


def test_golden_ids():
    """A change of these twenty is a change of every seeded text."""
    logits = np.arange(-500, 500, 10, dtype=np.int32)[None] * 37 % 1009
    sampler = make_sampler(
        -7, 100, temperature=0.9, top_k=50, top_p=0.95, repetition_penalty=1.1, seed=2024
    )
    np.testing.assert_array_equal(draw_many(sampler, logits, 20)[0], GOLDEN_IDS)


def test_ids_equal_a_float_sampler():
    """The same distribution function in float64, at the same random numbers, from numpy."""
    logits = np.random.default_rng(0).integers(-300, 300, (1, 50))
    sampler = make_sampler(-6, 50, temperature=0.9, seed=2024)
    order = np.argsort(-logits[0], kind="stable")
    edges = np.cumsum(np.exp(logits[0, order] / 64 / 0.9))
    expected = []
    for draw in range(300):
        counter = (draw - 1) % (1 << 256)  # numpy counts up before each block
        word = np.random.Philox(counter=counter, key=2024).random_raw()
        expected.append(order[np.searchsorted(edges, word / 2**64 * edges[-1], side="right")])
    np.testing.assert_array_equal(draw_many(sampler, logits, 300)[0], expected)


def test_rows_do_not_disturb_each_other():
    logits = np.array([[0, 5, 3, 2], [1, 1, 1, 1]], dtype=np.int32)
    both = draw_many(make_sampler(-2, seed=9), logits, 30)
    alone = draw_many(make_sampler(-2, seed=9), logits[:1], 30)
    np.testing.assert_array_equal(both[0], alone[0])
    twins = draw_many(make_sampler(-2, seed=9), logits[[1, 1]], 30)
    assert (twins[0] != twins[1]).any()


def test_saved_state_continues_the_stream():
    sampler = make_sampler(-2, seed=9, repetition_penalty=1.5, frequency_penalty=0.3)
    logits = np.array([[4, 5, 3, 2]], dtype=np.int32)
    whole = draw_many(sampler, logits, 10)[0]
    state = sampler.empty_state(1)
    for _ in range(4):
        _, state = sampler(logits, state)
    again = dataclasses.replace(
        state, draws=state.draws.copy(), seen=state.seen.copy(), drawn=state.drawn.copy()
    )
    for expected in whole[4:]:
        ids, again = sampler(logits, again)
        assert ids[0] == expected
    np.testing.assert_array_equal(state.draws, [4])  # a call leaves the state it was given


@given(
    rows=st.lists(st.lists(st.integers(-128, 127), min_size=4, max_size=4), min_size=2, max_size=2)
)
def test_every_integer_type_gives_the_same(rows):
    sampler = make_sampler(-4, seed=1, repetition_penalty=1.2)
    expected = draw_many(sampler, np.array(rows, dtype=np.int32), 5)
    strided = np.array(rows, dtype=np.int32, order="F")[:, ::-1][:, ::-1]
    np.testing.assert_array_equal(draw_many(sampler, strided, 5), expected)
    for dtype in ("int8", "int16", "int64", ">i4", ">i8"):
        np.testing.assert_array_equal(draw_many(sampler, np.array(rows, dtype=dtype), 5), expected)
    expected = draw_many(sampler, np.abs(rows).astype(np.int32), 5)
    for dtype in ("uint8", "uint64"):
        np.testing.assert_array_equal(draw_many(sampler, np.abs(rows).astype(dtype), 5), expected)


def test_everything_is_an_integer():
    sampler = make_sampler(-4, top_k=3, top_p=0.9, min_p=0.1, repetition_penalty=1.2)
    state = sampler.observe(sampler.empty_state(1), np.array([[0]]))
    penalized = sampler.penalize(scores(4, 5, 3, 2), state.seen[0])
    drawable, weights = candidates(sampler, penalized)
    ids, state = sampler(np.array([[4, 5, 3, 2]], dtype=np.int32), state)
    for array in (penalized, drawable, weights, exp2_weight(penalized), ids, state.draws):
        assert array.dtype == np.int64
    assert all(isinstance(number, int) for number in (*sampler.scale, *sampler.penalties))


# --- mistakes


@pytest.mark.parametrize(
    ("logits", "sentence"),
    [
        (np.zeros((1, 4)), "logits must be integers, not float64"),
        (np.zeros((1, 3), dtype=np.int32), r"the shape \(1, 4 or more\), not \(1, 3\)"),
        (np.zeros((2, 4), dtype=np.int32), r"the shape \(1, 4 or more\), not \(2, 4\)"),
        (np.array([[0, 0, 0, 1 << 31]]), "logits must fit int32"),
    ],
)
def test_wrong_logits(logits, sentence):
    sampler = make_sampler()
    with pytest.raises(ValueError, match=sentence):
        sampler(logits, sampler.empty_state(1))


@pytest.mark.parametrize(("exponent", "vocab"), [(1, 4), (-41, 4), (0, 0), (0, 1 << 31)])
def test_sampler_out_of_range(exponent, vocab):
    with pytest.raises(ValueError, match="must be in"):
        make_sampler(exponent, vocab)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1}, "temperature must be 0"),
        ({"temperature": 0.001}, "temperature must be 0"),
        ({"temperature": 101}, "temperature must be 0"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": 1.5}, "top_p must be above 0"),
        ({"top_p": True}, "top_p must be a number"),
        ({"min_p": -0.1}, "min_p must be from 0 to 1"),
        ({"min_p": 1.1}, "min_p must be from 0 to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be from 0.01"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty must be finite"),
        ({"frequency_penalty": 2.1}, "frequency_penalty must be from -2 to 2"),
        ({"presence_penalty": -2.1}, "presence_penalty must be from -2 to 2"),
        ({"top_k": -1}, "top_k must be a whole number"),
        ({"top_k": 2.5}, "top_k must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1 << 64}, "seed must be a whole number"),
    ],
)
def test_options_out_of_range(options, sentence):
    with pytest.raises(InputError, match=f"^{sentence}.*; try [0-9.]+$"):
        SamplingOptions(**options)


def test_options_at_their_limits():
    for low, high in pairwise([0.01, 1, 100]):
        SamplingOptions(temperature=low, repetition_penalty=high, seed=(1 << 64) - 1)
        SamplingOptions(temperature=high, repetition_penalty=low, top_p=1, min_p=1)
