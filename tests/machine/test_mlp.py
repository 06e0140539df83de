"""MLP layers on the accelerator, gated and not, next to Mamba2 layers and alone."""

from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.device.sim.opened import open_golden
from lightmamba.hardware.compiler import build
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.spine import rows_per_cycle
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import made_up
from tests.support.mixed import (
    LONG_STREAM,
    MAMBA,
    compare,
    compiled,
    hardware,
    passes_self_test,
    per_token,
    runs,
    seen_at_work,
)  # fmt: skip

SIZES = kind("mlp").Sizes
FIRST, SECOND = MAMBA.layers
GATED, SQUARED = SIZES(320), SIZES(200, "relu2")
MIXED = replace(MAMBA, layers=(FIRST, GATED, SECOND, SQUARED, GATED))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return compiled(folder, MIXED, segment=64, hardware=hardware())


@pytest.fixture(scope="module")
def opened(path):
    found = open_golden(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


def test_every_observable_equals_the_engine(opened):
    compare(opened, 30, 2)


@pytest.mark.slow
def test_passes_of_several_tokens(tmp_path):
    opened = open_golden(compiled(tmp_path, MIXED, "tiny-t4"), stalls=0.2, seed=3, sequences=8)
    compare(opened, 200, 8)
    opened.device.close()


@pytest.mark.slow
@pytest.mark.board
def test_the_estimate_is_within_one_percent(path):
    simulated, arch = per_token(path, 10, 20)
    work = Workload.of(MIXED, Formats(), Target.load("tiny"), "reordered")
    found = estimate_pass(replace(work, arch=arch), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)


def test_the_timeline_shows_its_work(path):
    assert {"MLP", "rows of a", "rows of b"} <= seen_at_work(path)


def test_the_self_test_passes(path):
    assert passes_self_test(path)


def test_its_hardware_runs_a_model_of_mlps_alone(tmp_path):
    model = replace(MAMBA, layers=(GATED, SQUARED))
    assert runs(compiled(tmp_path, model, segment=64, hardware=hardware()))


def test_rows_that_leave_one_by_one(tmp_path):
    """b is behind its a."""
    path = compiled(tmp_path, LONG_STREAM, segment=64)
    assert rows_per_cycle(Artifact.read(path).arch) == 1
    assert runs(path)


@pytest.mark.slow
def test_rows_that_leave_by_twos_where_lanes_are_odd(tmp_path):
    """A word of three rows has one of a and two of b, or the other way."""
    target = made_up(lanes=3, segment=64, state_elements=16, state_port_bits=64)
    build(random_model(MIXED), target, tmp_path / "build")
    assert rows_per_cycle(Artifact.read(tmp_path / "build").arch) == 2
    assert runs(tmp_path / "build")


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="an MLP has no queue that holds them; compile in the"):
        compiled(tmp_path, MIXED, order="naive")
    formats = Formats(hadamard=0)
    with pytest.raises(InputError, match=r"order 384 \(all hidden channels\).* at most 128"):
        build(random_model(MIXED, formats), Target.load("tiny"), tmp_path / "build")
