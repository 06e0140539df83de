"""MLP layers on the accelerator, gated and not, next to Mamba2 layers and alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.blocks import part
from lightmamba.boards.selftest import expected, self_test
from lightmamba.compiler import build
from lightmamba.config import ModelConfig, mamba2_config
from lightmamba.errors import InputError
from lightmamba.estimate.model import estimate_pass
from lightmamba.estimate.workload import Workload
from lightmamba.formats import Formats
from lightmamba.machine.artifact import Artifact
from lightmamba.qmodel.synthetic import random_model
from lightmamba.sim.opened import Opened, open_twin
from lightmamba.sim.simulation import simulate
from tests.sim.passes import random_passes

SIZES = part("mlp", "sizes").Sizes
MAMBA = mamba2_config(64, 2, 53, d_state=16, headdim=16, ngroups=2)
FIRST, SECOND = MAMBA.layers
GATED, SQUARED = SIZES(320), SIZES(200, "relu2")
MIXED = replace(MAMBA, layers=(FIRST, GATED, SECOND, SQUARED, GATED))


def compiled(folder: Path, config: ModelConfig, target: str = "tiny", **more: Any) -> Path:
    """Folder of a build of a random model."""
    build(random_model(config), Target.load(target), folder / "build", **more)
    return folder / "build"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("mixed"), MIXED)


@pytest.fixture(scope="module")
def opened(path):
    found = open_twin(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


def compare(opened: Opened, count: int) -> None:
    """Passes of random composition: every observable of every token."""
    arch, done = opened.twin.arch, 0
    work = random_passes(
        np.random.default_rng(1), tokens=arch.tokens, sequences=2 * arch.tokens,
        undecided=arch.undecided, vocab=opened.model.valid_vocab, needs=opened.device.needs,
    )  # fmt: skip
    while done < count:
        step = opened.twin.step(next(work))
        assert step.difference is None, done
        done += step.tokens


def test_every_observable_equals_the_engine(opened):
    compare(opened, 60)


@pytest.mark.slow
def test_passes_of_several_tokens(tmp_path):
    opened = open_twin(compiled(tmp_path, MIXED, "tiny-t4"), stalls=0.2, seed=3, sequences=8)
    compare(opened, 200)
    opened.device.close()


def test_the_estimate_is_within_one_percent(path):
    opened = open_twin(path)
    opened.device.start(5, fresh=True, chain=9)
    opened.device.wait()
    opened.device.start(5, chain=19)
    simulated = opened.device.wait() / 20
    opened.device.close()
    work = Workload.of(MIXED, Formats(), Target.load("tiny"), "reordered")
    found = estimate_pass(replace(work, arch=opened.twin.arch), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)


def test_the_timeline_shows_its_work(path):
    opened = open_twin(path)
    found = simulate(opened, [3, 4], 3, watch=True)
    opened.device.close()
    assert found.matches_engine
    assert found.activity is not None
    assert {"MLP", "rows of a", "rows of b"} <= set(found.activity.token.busy)


def test_the_self_test_passes(path):
    artifact = Artifact.read(path)
    with open_twin(path).device as device:
        steps = list(self_test(device, artifact, expected(artifact)))
    assert [step for step in steps if not step.passed] == []


@pytest.mark.parametrize("layers", [(GATED, SQUARED), MAMBA.layers], ids=["mlp", "mamba2"])
def test_its_hardware_runs_models_of_one_kind(tmp_path, path, layers):
    hardware = Artifact.read(path).arch
    built = compiled(tmp_path, replace(MAMBA, layers=layers), hardware=hardware)
    one = open_twin(built)
    assert [step.difference for step in one.twin.run([1, 2, 3], 5)] == [None] * 5
    one.device.close()


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="an MLP has no queue that holds them; compile in the"):
        compiled(tmp_path, MIXED, order="naive")
    formats = Formats(hadamard=0)
    with pytest.raises(InputError, match=r"order 384 \(all hidden channels\).* at most 128"):
        build(random_model(MIXED, formats), Target.load("tiny"), tmp_path / "build")
