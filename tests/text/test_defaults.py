"""Sampling options: what was given, else the model's generation config, else greedy."""

import pytest

from lightmamba.common.errors import InputError
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import sampling_options

CONFIG = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
          "repetition_penalty": 1.1, "min_p": 0.01, "max_new_tokens": 5}  # fmt: skip
ALL = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def test_without_anything_it_is_greedy():
    assert sampling_options({}) == (SamplingOptions(temperature=0.0), ())


def test_the_config_counts():
    options, taken = sampling_options(CONFIG, seed=3)
    assert options == SamplingOptions(0.6, 20, 0.95, 0.01, 1.1, seed=3)
    assert set(taken) == set(ALL)


def test_what_is_given_wins():
    options, taken = sampling_options(CONFIG, temperature=0.0, top_k=None, top_p=0.5)
    assert options == SamplingOptions(0.0, 20, 0.5, 0.01, 1.1)
    assert set(taken) == {"top_k", "min_p", "repetition_penalty"}


@pytest.mark.parametrize("do_sample", [{}, {"do_sample": False}, {"do_sample": None}])
def test_without_do_sample_nothing_is_drawn_unless_a_temperature_is_given(do_sample):
    config = {k: v for k, v in CONFIG.items() if k != "do_sample"} | do_sample
    options, taken = sampling_options(config)
    assert options.greedy
    assert options.repetition_penalty == 1.1
    assert "temperature" not in taken
    options, _ = sampling_options(config, temperature=0.7)
    assert (options.temperature, options.top_k) == (0.7, 20)


def test_do_sample_alone_draws_at_temperature_1():
    assert sampling_options({"do_sample": True, "top_k": None})[0] == SamplingOptions()


def test_what_is_wrong_is_said_with_its_place():
    with pytest.raises(InputError, match=r"^top_p must be above 0"):
        sampling_options(CONFIG, top_p=2.0)
    for wrong in ({"top_p": 2}, {"top_p": "x"}, {"top_k": 1.5}, {"do_sample": True,
                  "temperature": []}):  # fmt: skip
        with pytest.raises(InputError, match=r"^in the model's generation config t"):
            sampling_options(wrong)
