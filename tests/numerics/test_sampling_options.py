"""Options of a sampler: their ranges, and what is said of a wrong one."""

from itertools import pairwise

import pytest

from lightmamba.common.errors import InputError
from lightmamba.numerics.sampling_options import SamplingOptions


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
