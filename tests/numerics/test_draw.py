"""The integer exponential of the sampler, and the counter-based generator of its draws."""

import decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.numerics import draw
from lightmamba.numerics.draw import exp2_weight, philox, uniform_below

ONE = 1 << 31  # weight of the most probable id


def test_exp2_weight_over_all_inputs():
    x = np.arange(33 << 16)
    exact = 2.0 ** (31 - x / (1 << 16))
    error = np.abs(exp2_weight(x) - exact)
    assert error.max() <= 1.4
    assert (error / exact)[: 1 << 16].max() <= 1.1e-9
    assert not exp2_weight(x[32 << 16 :]).any()
    assert (np.diff(exp2_weight(x)) <= 0).all()


def test_exp2_weight_worked_values():
    x = np.array([0, 1 << 16, 31 << 16, 1 << 15, 1 << 40])
    # 2**31 / sqrt(2) = 1518500249.99
    np.testing.assert_array_equal(exp2_weight(x), [ONE, ONE >> 1, 1, 1518500250, 0])


def test_exp2_tables_do_not_depend_on_the_decimal_context():
    tables = draw._exp2_tables()
    draw._exp2_tables.cache_clear()
    with decimal.localcontext(prec=3, rounding=decimal.ROUND_UP):
        for again, table in zip(draw._exp2_tables(), tables, strict=True):
            np.testing.assert_array_equal(again, table)


def test_philox_published_answers():
    """Random123's kat_vectors: zeros, and the digits of pi."""
    assert philox((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    counter = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)
    assert philox(counter, (0x452821E638D01377, 0xBE5466CF34E90C6C)) == (
        0xA528F45403E61D95,
        0x38C72DBD566E9788,
        0xA5A1610E72FD18B5,
        0x57BD43B5E52B7FE6,
    )


@given(words=st.lists(st.integers(0, (1 << 64) - 2), min_size=6, max_size=6))
def test_philox_equals_numpy(words):
    """numpy counts up before each block."""
    a, b, c, d, key0, key1 = words
    unsigned = np.array(words, dtype=np.uint64)
    generator = np.random.Philox(counter=unsigned[:4], key=unsigned[4:])
    assert list(philox((a + 1, b, c, d), (key0, key1))) == generator.random_raw(4).tolist()


def test_uniform_below_is_unbiased():
    """Without rejection every third number of this bound would get half of the draws."""
    bound = 3 << 62
    draws = [uniform_below(bound, seed=1, row=0, draw=i) for i in range(3000)]
    counts = np.bincount([draw % 3 for draw in draws], minlength=3)
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8  # chi-square, 2 degrees, p = 0.001
    assert uniform_below(1, seed=1, row=0, draw=0) == 0


def test_streams_differ_by_seed_row_and_draw():
    first = {"seed": 5, "row": 5, "draw": 5}
    words = [uniform_below(1 << 64, **first)]
    words += [uniform_below(1 << 64, **{**first, name: 6}) for name in first]
    assert len(set(words)) == 4
