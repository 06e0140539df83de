"""Figures that the ablation computes itself: buffers by hand, the bubble of a full transform."""

from dataclasses import replace

import pytest
from bench.tables.ablation import HELD, buffers, full_rotation

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.estimate import Estimate
from lightmamba.model.config import SHAPES
from lightmamba.numerics.model_formats import Formats

CONFIG = SHAPES["mamba2-2.7b"]


def test_buffers_of_u280_by_hand():
    """Words of 128 x 8 + 4 x 5 = 1,044 bits; a URAM holds 4,096 x 72."""
    found = buffers(CONFIG, plan(CONFIG, Formats(), Target.load("u280")))
    assert found[HELD[0]] == (3 * 5120 * 1044, Amount(uram=3 * 2 * 15))
    queues = 2 * 8192 * 1044
    assert found[HELD[1]][0] == 3 * 64 * 1044 + queues
    assert found[HELD[1]][1].uram == 2 * 2 * 15
    assert found[HELD[1]][1].lut > 0
    assert found[HELD[2]] == (queues, Amount(uram=2 * 2 * 15))


def test_narrower_words_are_more():
    target = Target.load("u280")
    half = replace(target, machine=replace(target.machine, state_elements=64))
    found = [buffers(CONFIG, plan(CONFIG, Formats(), t))[HELD[0]][0] for t in (target, half)]
    assert found[0] == found[1]  # twice the words, each of half the bits


def test_full_rotation_adds_half_a_vector_per_layer():
    found = Estimate(300.0, 1_000_000, 0, {}, {}, {}, {}, {}, {})
    assert 300e6 / full_rotation(CONFIG, found) == pytest.approx(1_000_000 + 64 * 2560)
