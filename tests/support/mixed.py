"""Small models of several kinds of layers on simulated hardware, compared with the engine."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.device.boards.selftest import expected, self_test
from lightmamba.device.sim.device import open_device
from lightmamba.device.sim.opened import Opened, open_golden
from lightmamba.device.sim.simulation import simulate
from lightmamba.hardware.compiler import build, plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats
from tests.sim.passes import random_passes

__all__ = [
    "CONTEXT", "EXPERTS", "GRANITE", "LEAST", "LONG_STREAM", "MAMBA", "MIXED", "NEMOTRON",
    "compare", "compiled", "hardware", "passes_self_test", "per_token", "runs", "seen_at_work",
    "target_of", "with_experts",
]  # fmt: skip

ATTENTION, EXPERT, MLP = (kind(name).Sizes for name in ("attention", "experts", "mlp"))
MAMBA = mamba2_config(64, 2, 53, d_state=16, headdim=16, ngroups=2)
FIRST, SECOND = MAMBA.layers
# Attention with two and three queries for each head of keys.
MIXED = replace(MAMBA, layers=(FIRST, ATTENTION(4, 2, 32), MLP(320), SECOND, ATTENTION(6, 2, 32)))
# Routers of both families; two blocks, of which nothing is repeated; three, of which no expert is
# left out and a pair of instructions is there once.
GRANITE = EXPERT(12, 4, 64, 2)
NEMOTRON = EXPERT(9, 3, 200, 1, "relu2", "sigmoid")
LEAST = EXPERT(3, 1, 40, 1, "relu2", "sigmoid", normed=False)
EXPERTS = replace(
    MAMBA,
    layers=(FIRST, GRANITE, ATTENTION(4, 2, 32), NEMOTRON, SECOND, LEAST, EXPERT(2, 2, 96, 1)),
)
CONTEXT = 256
# A residual stream that is long for the lanes, as on a kv260: rows leave one by one.
LONG_STREAM = replace(MAMBA, d_model=288, layers=(MLP(320), MLP(200, "relu2")))


def target_of(name: str = "tiny", segment: int = 4096, channels: int = 32) -> Target:
    """A target with these parameters of attention, deeper queues for it, and a small SSM unit."""
    found = Target.load(name)
    own = replace(
        found.machine, segment=segment, attention_channels=channels, state_elements=16,
        state_port_bits=64,
    )  # fmt: skip
    queues = {"weight_fifo": 512, "row_fifo": 128}
    return replace(found, machine=own, per_kind={"attention": queues})


@cache
def hardware() -> ArchConfig:
    """Accelerator of three kinds of layers, whose simulator is built once for all tests of them."""
    return plan(MIXED, Formats(), target_of(segment=64), context=CONTEXT)


@cache
def with_experts() -> ArchConfig:
    """Accelerator of Mamba2, attention and experts, whose simulator is built once as well."""
    return plan(EXPERTS, Formats(), target_of(segment=64), context=CONTEXT)


def compiled(
    folder: Path, config: ModelConfig, target: str = "tiny", segment: int = 4096,
    channels: int = 32, **more: Any,
) -> Path:  # fmt: skip
    """Folder of a build of a random model."""
    build(random_model(config), target_of(target, segment, channels), folder / "build", **more)
    return folder / "build"


def compare(opened: Opened, count: int, sequences: int, **how: Any) -> None:
    """Passes of random composition, ``count`` tokens: every observable of every token."""
    rng, done = np.random.default_rng(1), 0
    work = random_passes(
        rng, opened.device, opened.model.valid_vocab, sequences=sequences, **how
    )  # fmt: skip
    while done < count:
        step = opened.golden.step(next(work))
        assert step.difference is None, done
        done += step.tokens


def per_token(path: Path, before: int, count: int) -> tuple[float, Any]:
    """Cycles of each of ``count`` tokens of a chain behind ``before`` others; the hardware."""
    artifact, cycles = Artifact.read(path), []
    with open_device(artifact, observed=False) as device:
        device.start(5, fresh=True, chain=before - 1)
        device.wait()
        state = device.save_state()
        for length in (1, 1 + count):
            device.restore_state(state)
            device.start(5, chain=length - 1)
            cycles.append(device.wait())
    return (cycles[1] - cycles[0]) / count, artifact.arch


def seen_at_work(path: Path) -> set[str]:
    """Units in the timeline of a token that equals the engine's."""
    opened = open_golden(path)
    found = simulate(opened, [3, 4], 3, watch=True)
    opened.device.close()
    assert found.matches_engine
    assert found.activity is not None
    return set(found.activity.token.busy)


def passes_self_test(path: Path) -> bool:
    """Whether a build passes its self-test."""
    artifact = Artifact.read(path)
    with open_golden(path).device as device:
        return all(step.passed for step in self_test(device, artifact, expected(artifact)))


def runs(path: Path) -> bool:
    """Whether five tokens behind a prompt equal the engine's."""
    one = open_golden(path)
    found = [step.difference for step in one.golden.run([1, 2, 3], 5)]
    one.device.close()
    return found == [None] * 5
