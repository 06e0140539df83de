"""Activation scales that are bare powers of two, which only a benchmark has."""

from dataclasses import fields

import numpy as np
import pytest
from bench.scales import RULES, PowerFormats, PowerQuant, power_recipe

from lightmamba.numerics.blocks import BlockQuant
from lightmamba.quantization import Recipe


@pytest.mark.parametrize(("bits", "qmax"), [(4, 7), (8, 119)])
@pytest.mark.parametrize("rule", RULES)
def test_the_scale_is_the_power_of_two_that_the_rule_names(rule, bits, qmax):
    act = PowerQuant(bits, 32, qmax, edge=RULES[rule])
    magnitude = np.concatenate([np.arange(1, 5000), 1 << np.arange(13, 32)])
    edge = float(RULES[rule]) * (qmax + 0.5)
    wanted = np.floor(np.log2(magnitude / edge)).astype(np.int64) + 1
    assert (act.index(magnitude) == 4 * wanted).all()


def test_scales_that_hold_all_clip_nothing():
    x = np.random.default_rng(0).integers(-9000, 9000, (50, 64))
    hold = PowerQuant(8, 32, 119, edge=RULES["smallest that holds the largest value"])
    q, code, clipped, clamped = hold(x, 0)
    assert (clipped, clamped) == (0, 0)
    assert (code % 4 == 0).all()
    assert np.abs(hold.dequantize(q, code, 0) - x).max() <= 2.0**6  # half of the coarsest step
    assert (BlockQuant(8, 32, 119)(x, 0)[1] % 4 != 0).any()


def test_formats_hand_the_rule_on():
    formats = PowerFormats(edge=RULES["nearest"])
    assert isinstance(formats.projection.act, PowerQuant)
    assert isinstance(formats.head.act, PowerQuant)
    assert formats.head.act.qmax == 119


@pytest.mark.parametrize("rule", RULES)
def test_the_recipe_has_these_scales_and_is_else_as_shipped(rule):
    """`lower_model` takes the formats of the recipe, whatever the work had."""
    formats, shipped = power_recipe(rule).formats, Recipe.load("w4a4").formats
    assert isinstance(formats, PowerFormats)
    assert formats.edge == RULES[rule]
    assert all(getattr(formats, f.name) == getattr(shipped, f.name) for f in fields(shipped))
