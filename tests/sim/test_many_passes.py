"""Tokens of the bundled models in random passes, on four machines."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.device.sim import open_golden
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file, experts_file, hybrid_file
from lightmamba.model.qmodel import load
from tests.support.tools import needs_verilator

from .passes import random_passes

TOKENS, SEQUENCES, CONTEXT = 2000, 4, 192

pytestmark = [
    pytest.mark.slow,  # minutes for each machine
    needs_verilator,
]


@pytest.mark.parametrize(
    ("target", "file"),
    [("tiny", demo_file), ("tiny-t4", demo_file), ("tiny-hybrid", hybrid_file),
     ("tiny", experts_file)],
    ids=["tiny", "tiny-t4", "tiny-hybrid", "tiny-experts"],
)  # fmt: skip
def test_every_observable_of_many_passes_equals_the_engine(tmp_path, target, file):
    model = load(file())
    grows = "attention" in model.config.kinds
    built = build(
        model, Target.load(target), tmp_path / "build",
        context=CONTEXT if grows else None, sequences=SEQUENCES if grows else None,
    )  # fmt: skip
    opened = open_golden(built.path, stalls=0.2, seed=14, sequences=SEQUENCES)
    golden, seen = opened.golden, 0
    work = random_passes(
        np.random.default_rng(14), tokens=golden.arch.tokens, sequences=SEQUENCES,
        undecided=golden.arch.undecided, vocab=model.valid_vocab, needs=opened.device.needs,
        context=CONTEXT,
    )  # fmt: skip
    while seen < TOKENS:
        each = next(work)
        step = golden.step(each)
        assert step.difference is None, (seen, each, str(step.difference))
        seen += each.tokens
    opened.device.close()


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
