"""Layers of experts on the accelerator: routers of both kinds, next to Mamba2 and attention."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.device.sim.device import open_device
from lightmamba.device.sim.opened import open_golden
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, plan
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.support.builders import made_up
from tests.support.mixed import (
    CONTEXT,
    EXPERTS,
    GRANITE,
    LEAST,
    MAMBA,
    MIXED,
    NEMOTRON,
    compare,
    compiled,
    passes_self_test,
    per_token,
    runs,
    seen_at_work,
    target_of,
    with_experts,
)  # fmt: skip

SIZES = kind("experts").Sizes
FIRST, SECOND = MAMBA.layers


@pytest.fixture(scope="module")
def hardware():
    return with_experts()


@pytest.fixture(scope="module")
def path(tmp_path_factory, hardware):
    folder = tmp_path_factory.mktemp("experts")
    return compiled(folder, EXPERTS, segment=64, hardware=hardware)


@pytest.fixture(scope="module")
def opened(path):
    found = open_golden(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


def test_every_observable_equals_the_engine(opened):
    compare(opened, 30, 2, context=CONTEXT)


def test_the_estimate_is_within_one_percent(path):
    simulated, arch = per_token(path, 10, 20)
    work = Workload.of(EXPERTS, Formats(), target_of(segment=64), "reordered", context=CONTEXT)
    found = estimate_pass(replace(work, arch=arch, context=20), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)


def test_the_timeline_shows_its_work(path):
    assert {"router", "experts", "rows of a", "rows of b"} <= seen_at_work(path)


def test_the_self_test_passes(path):
    assert passes_self_test(path)


def test_the_self_test_passes_where_the_first_layer_has_experts(tmp_path, hardware):
    model = replace(MAMBA, layers=(NEMOTRON, FIRST, GRANITE))
    assert passes_self_test(compiled(tmp_path, model, segment=64, hardware=hardware))


@pytest.mark.parametrize("layers", [(GRANITE, NEMOTRON), (FIRST, SECOND), (LEAST,)])
def test_its_hardware_runs_other_models(tmp_path, hardware, layers):
    """Models of experts alone and models without any, whose weights all come in order."""
    model = replace(MAMBA, layers=layers)
    assert runs(compiled(tmp_path, model, segment=64, hardware=hardware))


def test_a_device_takes_models_with_and_without_experts_by_turns(path, tmp_path, hardware):
    """A model without experts never waits for a choice of the model before it."""
    plain = compiled(
        tmp_path, replace(MAMBA, layers=(FIRST, SECOND)), segment=64, hardware=hardware
    )
    builds = [Artifact.read(each) for each in (path, plain, path)]
    seen = []
    with open_device(builds[0], observed=False) as device:
        for build_ in builds:
            device.load(build_)
            device.start(5, fresh=True, chain=3)
            seen.append((device.wait(), device.next_token))
    assert seen[0] == seen[2] != seen[1]


def test_every_expert_of_a_layer_is_taken(tmp_path, hardware):
    """Biases force the choice: three of the nine experts at a time, until all were taken."""
    model = random_model(replace(MAMBA, layers=(FIRST, NEMOTRON)))
    mamba, experts = model.layers
    mixer: Any = experts.mixer
    for first in (0, 3, 6):
        bias = np.where(np.arange(9) // 3 == first // 3, 1 << 20, 0).astype(np.int32)
        layer = replace(experts, mixer=replace(mixer, choice_bias=bias))
        forced = replace(model, layers=(mamba, layer))
        seen: dict[str, Any] = {}
        engine = Engine(forced)
        engine.forward(np.array([[1]]), engine.empty_state(1), observe=seen.__setitem__)
        chosen = seen["layer.1.router.blocks"]
        assert sorted(chosen.ravel()) == [first, first + 1, first + 2, 9]
        build(forced, target_of(segment=64), tmp_path / str(first), hardware=hardware)
        assert runs(tmp_path / str(first))


def test_blocks_with_widths_of_their_own(tmp_path, hardware):
    """Weights of two beats and whole activations in some layers of experts, and in others not."""
    formats = Formats(exceptions=(
        FormatException(1, "in_proj", 8, 8), FormatException(3, "in_proj", 8, 4),
        FormatException(3, "out_proj", 8, 8), FormatException(6, "out_proj", 4, 8),
    ))  # fmt: skip
    model = random_model(EXPERTS, formats)
    build(model, target_of(segment=64), tmp_path / "build", hardware=hardware)
    assert runs(tmp_path / "build")


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 3, 5])
def test_other_numbers_of_lanes(tmp_path, lanes):
    target = made_up(
        lanes=lanes, segment=64, state_elements=16, state_port_bits=64, x_queue=16, z_queue=32,
    )  # fmt: skip
    build(random_model(EXPERTS), target, tmp_path / "build", context=CONTEXT)
    assert runs(tmp_path / "build")


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "activations"), [(4, 8), (8, 8)])
def test_other_widths(tmp_path, weights, activations):
    """Blocks of experts take all of an activation of 8 bits; the router has 8 in any case."""
    formats = Formats(weight_bits=weights, act_bits=activations, head_weight_bits=weights)
    target = target_of(segment=64)
    target = replace(target, machine=replace(target.machine, multiplier_bits=8))
    build(random_model(EXPERTS, formats), target, tmp_path / "build", context=CONTEXT)
    assert runs(tmp_path / "build")


def test_refusals(tmp_path):
    for layer, words in (
        (SIZES(257, 4, 64, 2), "257 experts, but the hardware takes at most 256"),
        (SIZES(20, 17, 64, 2), "17 experts for a token, but the hardware takes at most 16"),
        (SIZES(20, 4, 64, 16), "16 blocks that every token takes, but the hardware takes at most"),
        (SIZES(20, 16, 2560, 2), "46080 with padding, but the hardware adds the sums of at most"),
    ):
        with pytest.raises(InputError, match=words):
            compiled(tmp_path, replace(MAMBA, layers=(FIRST, layer)))
    with pytest.raises(InputError, match="routers go up to 119, but the head's go up to 100"):
        plan(EXPERTS, Formats(head_qmax=100), target_of(), context=CONTEXT)
    with pytest.raises(InputError, match="compile such a model, then this one with --rtl"):
        compiled(tmp_path, MAMBA, kinds=("experts", "mamba2"))
    with pytest.raises(InputError, match="no machine has experts and mlp layers"):
        compiled(tmp_path, replace(MAMBA, layers=(GRANITE, kind("mlp").Sizes(64))))
    with pytest.raises(InputError, match="one token in a pass, but target tiny-t4 has 4"):
        compiled(tmp_path, EXPERTS, "tiny-t4")
    with pytest.raises(InputError, match="experts have no queue that holds them; compile in"):
        compiled(tmp_path, EXPERTS, order="naive")
    others = plan(MIXED, Formats(), Target.load("tiny"), context=CONTEXT)
    with pytest.raises(InputError, match="no units for experts layers; make some that has"):
        compiled(tmp_path, EXPERTS, hardware=others)
