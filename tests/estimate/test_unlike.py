"""Layers that are not alike, and clients that grow with a sequence."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.hardware import Client
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.hardware.estimate import model
from lightmamba.hardware.estimate.memory import MemorySide
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.units import Run, Walkers
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.program import instructions
from lightmamba.model.config import SHAPES, mamba2_config
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import made_up
from tests.support.layers import sizes_of

LARGE = mamba2_config(256, 6, 512, d_state=64, headdim=32, ngroups=2)
# Fewer heads, and more groups of B and C: as many channels of the convolution.
SMALL = replace(sizes_of(LARGE), nheads=12, ngroups=3)
TARGET = made_up(lanes=4, state_elements=64, state_fifo=512, beats=1.0, latency=1)

HARDWARE = kind("mamba2").hardware


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


@pytest.fixture
def growing(monkeypatch):
    """The convolution reads a word of each position for each of its words, and writes its own."""
    grown = tuple(
        Client(c.name, "growing", c.doc) if c.name == "conv_state" else c
        for c in HARDWARE.graph.clients
    )
    conv = HARDWARE.steps["conv"]

    def longer(work, layer, sizes):
        table = conv(work, layer, sizes)
        read = table.takes["conv_read"]
        return replace(
            table, takes={**table.takes, "conv_read": np.where(read > 0, work.positions, read)}
        )

    monkeypatch.setattr(type(HARDWARE), "graph", replace(HARDWARE.graph, clients=grown))
    monkeypatch.setattr(type(HARDWARE), "steps", {**HARDWARE.steps, "conv": longer})
    caches = machine, instructions
    for cache in caches:
        cache.cache_clear()
    yield
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("growing")
def test_what_grows_is_read_for_every_position():
    slow = replace(TARGET, channels=tuple(
        replace(c, attainable_gb_per_s=0.02 * c.gb_per_s) if "aux" in c.ports else c
        for c in TARGET.channels
    ))  # fmt: skip
    work = Workload.of(SHAPES["demo"], Formats(), slow, "reordered")
    assert work.arch.context >= work.positions == 1024
    few, many = (replace(work, context=count) for count in (4, 12))
    words = work.words("conv_state")
    for each in (few, many):
        side = MemorySide(Walkers(each, Run(2, 64, 1, (0,))))
        lists = side.lists({"state_ahead": 0, "state_behind": 0}, {})
        place = list(side.readers).index("conv_state")
        assert lists["readers"][place]["segment"] == -(-each.context * words // 2)
        assert lists["readers"][place]["each"] == lists["readers"][place]["credit"] == 2
        own = lists["writers"][list(side.writers).index("conv_state")]
        assert (own["command"], own["each"], own["reader"]) == (-(-words // 2), 2, place)
    found = [estimate_pass(each, area={}) for each in (few, many)]
    (aux,) = (c.name for c in slow.channels if "aux" in c.ports)
    more = [f.channel_bytes[aux] for f in found]
    assert more[1] - more[0] == work.config.n_layer * 8 * words * 8
    took = found[1].cycles - found[0].cycles
    assert took == pytest.approx(
        found[1].channel_cycles[aux] - found[0].channel_cycles[aux], rel=0.02
    )
