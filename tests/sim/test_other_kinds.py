"""A model on hardware that has units of kinds that the model lacks."""

from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.device.sim import open_golden
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load
from tests.support.tools import needs_verilator

pytestmark = [
    pytest.mark.slow,  # minutes for the machine
    needs_verilator,
]


def test_a_mamba2_model_on_hardware_with_attention(tmp_path):
    """The queues and multipliers are those of the hardware; the integers those of the engine."""
    choices = {"multiplier_bits": 8, "weight_fifo": 512, "row_fifo": 128}
    target = replace(Target.load("tiny"), per_kind={"attention": choices})
    built = build(
        load(demo_file()), target, tmp_path / "build", kinds=("attention", "mamba2", "mlp")
    )
    assert {name: getattr(built.arch, name) for name in choices} == choices
    opened = open_golden(built.path, stalls=0.2, seed=14)
    assert [step.difference for step in opened.golden.run([1, 2, 3], 6)] == [None] * 6
    opened.device.close()
