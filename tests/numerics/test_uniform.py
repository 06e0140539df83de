"""The counter-based generator of the sampler, and its unbiased draws."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.numerics.uniform import philox, uniform_below


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
