"""Projections with widths of their own, on the machine of four tokens."""

from dataclasses import replace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.device.sim import chained, open_device, open_golden
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.numerics.model_formats import Formats
from tests.support.tools import needs_verilator

from ..support.builders import random_model
from ..support.layers import resized
from .machines import FOUR, HARDWARE, LARGE, TARGET, WIDE, compiled, same

pytestmark = needs_verilator
DEEPER = resized(LARGE, n_layer=4, vocab_size=53)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A model one of whose wide inputs wants smaller scales than there are."""
    model = random_model(DEEPER, WIDE)
    layers = list(model.layers)
    raised = replace(layers[2].in_proj, act_base=layers[2].in_proj.act_base + 10)
    layers[2] = layers[2].with_linears(in_proj=raised)
    model = replace(model, layers=tuple(layers))
    folder = tmp_path_factory.mktemp("wide")
    return compiled(folder, DEEPER, FOUR, model=model, hardware=HARDWARE)


def test_equals_the_engine(build):
    """Every observable and counter, memory that stalls; lost scales count for their projection."""
    steps = list(open_golden(build, stalls=0.2, seed=1).golden.run((1, 2, 3), 6))
    for step in steps:
        same(step)
    assert sum(step.lost["in_proj.scale"] for step in steps) > 0


def test_cycles_are_those_of_the_estimate(build):
    with open_device(Artifact.read(build)) as device:
        _, counts = chained(device, 2, 1)
    assert Artifact.read(build).arch == HARDWARE
    found = estimate(DEEPER, WIDE, FOUR)
    assert found.cycles == pytest.approx(sum(counts[name] for name in found.stalls), rel=0.01)
    for name in ("multiplying", "scale"):
        assert found.stalls[name] == counts[name]


def test_hardware_without_it_refuses_the_model(tmp_path):
    narrow = plan(DEEPER, Formats(), TARGET)
    with pytest.raises(
        InputError, match="has weights of 8 bits, but this hardware takes 4 in all layers; compile"
    ):
        compiled(tmp_path, DEEPER, TARGET, WIDE, hardware=narrow)
