"""Layers that are not alike."""

from dataclasses import replace

import pytest

from lightmamba.blocks.layer import Sizes
from lightmamba.hardware.estimate import model
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import mamba2_config
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import made_up
from tests.support.layers import sizes_of

LARGE = mamba2_config(256, 6, 512, d_state=64, headdim=32, ngroups=2)
# Fewer heads, and more groups of B and C: as many channels of the convolution.
SMALL = replace(sizes_of(LARGE), nheads=12, ngroups=3)
TARGET = made_up(lanes=4, state_elements=64, state_fifo=512, beats=1.0, latency=1)


def of(*layers: Sizes) -> Workload:
    """A model of these layers, on a machine for all of them."""
    work = Workload.of(LARGE, Formats(), TARGET, "reordered")
    config, arch = replace(LARGE, layers=layers), replace(work.arch, groups=SMALL.ngroups)
    return replace(work, config=config, arch=arch)


def cycles(*layers: Sizes) -> int:
    return estimate_pass(of(*layers), area={}).cycles


def test_a_mixed_model_takes_what_its_layers_take():
    """Layers of two sizes by turns: half of the one, half of the other."""
    large, small = LARGE.layers[0], SMALL
    all_ = [cycles(*(large,) * 6), cycles(*(large, small) * 3), cycles(*(small,) * 6)]
    assert all_[0] > all_[1] > all_[2]
    assert all_[1] == pytest.approx((all_[0] + all_[2]) / 2, rel=0.01)


def test_a_few_periods_stand_for_all(monkeypatch):
    work = of(*(LARGE.layers[0], SMALL, SMALL) * 6)
    assert work.period == 3
    whole = estimate_pass(work, area={}).cycles
    monkeypatch.setattr(model, "MOST", 1)
    assert model._layers(work, 1) == 9
    assert estimate_pass(work, area={}).cycles == pytest.approx(whole, rel=0.002)
