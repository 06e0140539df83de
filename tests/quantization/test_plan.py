"""Plans: time and memory of a run, and what is refused before it starts."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lightmamba.common.errors import InputError
from lightmamba.model.config import PUBLISHED
from lightmamba.quantization import Recipe, plan
from lightmamba.quantization.plan import Plan, available_memory, choose_device
from tests.support.layers import resized

GIB = 1 << 30


def planned(shape, sequences=32, recipe="w4a4", seqlen=512):
    return Plan.of(PUBLISHED[shape], Recipe.load(recipe), (sequences, seqlen))


@pytest.mark.parametrize(
    ("shape", "limit"), [("mamba2-130m", 2), ("mamba2-1.3b", 5), ("mamba2-2.7b", 8)]
)
def test_published_shapes_fit_ordinary_machines(shape, limit):
    assert planned(shape, sequences=160).memory < limit * GIB


def test_memory_is_that_of_one_layer_and_time_that_of_all():
    one, more = planned("mamba2-130m"), planned("mamba2-130m", sequences=320)
    assert more.memory == one.memory
    assert more.seconds(1e11) > 3 * one.seconds(1e11)
    deep = replace(one, config=resized(one.config, n_layer=48))
    assert deep.memory == one.memory
    assert 1.5 < deep.seconds(1e11) / one.seconds(1e11) < 2
    assert deep.disk["parts"] > 1.2 * one.disk["parts"]


def test_rounding_without_errors_of_inputs_takes_less():
    """Moments are summed all the same: they give the errors in the file."""
    plain, learning = planned("mamba2-2.7b", recipe="rtn-w4a4"), planned("mamba2-2.7b")
    assert plain.memory == learning.memory
    (streams, weights), (more, solved) = plain.flops, learning.flops
    assert 0.8 < streams / more < 1
    assert (weights, solved > 1e13) == (0, True)


def test_what_a_recipe_does_takes_time():
    ours, rounded = planned("mamba2-130m"), planned("mamba2-130m", recipe="rtn-w4a4")
    assert (ours.rotation_steps, ours.compares) == (300, True)
    assert (rounded.rotation_steps, rounded.compares) == (0, False)
    for less in (replace(ours, rotation_steps=0), replace(ours, compares=False)):
        assert 0.7 < less.seconds(2e11) / ours.seconds(2e11) < 0.97


def test_layers_without_a_norm_in_front_of_out_proj_compare_nothing():
    hybrid = planned("granite-4.0-h-350m")
    mamba = replace(hybrid.config, layers=hybrid.config.layers[::2])
    mlps = replace(hybrid.config, layers=hybrid.config.layers[1::2])
    for config, more in ((mamba, True), (mlps, False)):
        plan = replace(hybrid, config=config)
        assert (plan.seconds(2e11) > replace(plan, compares=False).seconds(2e11)) == more


# Measured on two quiet processors whose large products run at 2.16e11 operations per second; the
# models of 2.7b have two layers. With oneDNN, processes took less memory than with MKL.
@pytest.mark.parametrize(("shape", "layers", "sequences", "seconds", "memory", "onednn"), [
    ("mamba2-130m", 24, 4, 43.8, 1.155e9, False), ("mamba2-130m", 24, 16, 72.3, 1.179e9, False),
    ("mamba2-2.7b", 2, 4, 54.8, 1.978e9, False), ("mamba2-370m", 48, 4, 125.1, 1.257e9, False),
    ("mamba2-130m", 24, 4, 37.3, 1.073e9, True), ("mamba2-130m", 24, 16, 62.2, 1.135e9, True),
    ("mamba2-2.7b", 2, 16, 69.9, 2.004e9, True),
])  # fmt: skip
def test_plans_are_near_what_was_measured(
    monkeypatch, shape, layers, sequences, seconds, memory, onednn
):
    monkeypatch.setattr(plan, "has_fast_products", lambda: onednn)
    found = planned(shape, sequences)
    found = replace(found, config=resized(found.config, n_layer=layers))
    assert found.seconds(2.16e11) == pytest.approx(seconds, rel=0.07)
    assert 1 <= found.memory / memory < (1.12 if onednn else 1.07)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"seqlen": 8192, "sequences": 2}, "lower --seqlen to 793 or free memory"),
    ({}, "close other programs, or take a computer with more"),
])  # fmt: skip
def test_too_little_memory_says_what_to_reduce(monkeypatch, options, sentence):
    monkeypatch.setattr(plan, "available_memory", lambda: 200 << 20)
    with pytest.raises(InputError, match="of memory and 0.2 GB are free; " + sentence):
        planned("mamba2-2.7b", **options).check(None)


def test_too_little_disk_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "available_memory", lambda: 1 << 40)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    wanted = planned("mamba2-2.7b")
    sentence = r"needs about \d\.\d GB more and 0\.0 GB are free; make room"
    with pytest.raises(InputError, match=sentence):
        wanted.check(tmp_path / "journal")
    (tmp_path / "journal").mkdir()
    with open(tmp_path / "journal" / "layers", "wb") as file:
        file.truncate(sum(wanted.disk.values()) - 4096 * 1000)
    wanted.check(tmp_path / "journal")  # one that resumes needs the rest only


def test_short_calibration_is_warned_of_with_what_would_do():
    (warning,) = planned("mamba2-2.7b", sequences=8).warnings()
    assert "4,096 calibration tokens" in warning
    assert "--sequences 30 --seqlen 512" in warning
    assert not planned("mamba2-2.7b", sequences=30).warnings()
    assert not planned("mamba2-2.7b", sequences=8, recipe="rtn-w4a4").warnings()


def test_memory_of_this_machine():
    assert 1 << 20 < available_memory() < 1 << 50


@pytest.mark.parametrize(
    ("there", "chosen"), [((True, True), "cuda"), ((False, True), "mps"), ((False, False), "cpu")]
)
def test_the_device_is_the_first_that_is_there(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there[0])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there[1])
    assert choose_device("auto").type == chosen
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="no device 'cpu:x'; give auto, cpu, cuda or mps"):
        choose_device("cpu:x")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="finds no cuda:2 device on this machine"):
        choose_device("cuda:2")
