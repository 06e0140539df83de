"""Projections with widths of their own on a whole machine, and other models on it."""

import shutil
from dataclasses import replace

import pytest

from lightmamba.compiler import plan
from lightmamba.errors import InputError
from lightmamba.estimate import estimate
from lightmamba.formats import FormatException, Formats
from lightmamba.machine.artifact import Artifact
from lightmamba.sim import chained, open_device, open_twin

from ..support.builders import random_model
from ..support.layers import resized
from .machines import CONFIG, TARGET, compiled, run

pytestmark = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)
DEEPER = resized(CONFIG, n_layer=4, vocab_size=53)
FORMATS = Formats(
    exceptions=(
        FormatException(0, "in_proj", 8, 8), FormatException(0, "out_proj", 8, 4),
        FormatException(1, "out_proj", 4, 8), FormatException(2, "in_proj", 4, 8),
        FormatException(3, "out_proj", 8, 8),
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A model one of whose wide inputs wants smaller scales than there are."""
    model = random_model(DEEPER, FORMATS)
    layers = list(model.layers)
    raised = replace(layers[2].in_proj, act_base=layers[2].in_proj.act_base + 10)
    layers[2] = replace(layers[2], in_proj=raised)
    model = replace(model, layers=tuple(layers))
    return compiled(tmp_path_factory.mktemp("wide"), DEEPER, TARGET, model=model)


def test_equals_the_engine(build):
    """Every observable and counter, memory that stalls; lost scales count for their projection."""
    steps = run(open_twin(build, stalls=0.2, seed=1), 6, prompt=(1, 2, 3))
    assert sum(step.lost["in_proj.scale"] for step in steps) > 0


def test_a_model_of_one_width_runs_on_it_too(build, tmp_path):
    hardware = Artifact.read(build).arch
    path = compiled(tmp_path, DEEPER, TARGET, hardware=hardware)
    run(open_twin(path, stalls=0.2, seed=2), 3)


def test_cycles_are_those_of_the_estimate(build):
    with open_device(Artifact.read(build)) as device:
        _, counts = chained(device, 4, 2)
    found = estimate(DEEPER, FORMATS, TARGET)
    assert found.cycles == pytest.approx(sum(counts[name] for name in found.stalls), rel=0.01)
    for name in ("multiplying", "scale"):
        assert found.stalls[name] == counts[name]


def test_hardware_without_it_refuses_the_model(tmp_path):
    narrow = plan(DEEPER, Formats(), TARGET)
    with pytest.raises(
        InputError, match="has weights of 8 bits, but this hardware takes 4 in all layers; compile"
    ):
        compiled(tmp_path, DEEPER, TARGET, FORMATS, hardware=narrow)
