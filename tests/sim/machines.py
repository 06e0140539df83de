"""Whole machines for the tests: compiled, built, opened beside the engine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.device.sim import GoldenStep, Opened
from lightmamba.hardware.compiler import build, plan
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.support.builders import made_up, random_model, sizes
from tests.support.layers import resized

__all__ = [
    "CONFIG",
    "FOUR",
    "HARDWARE",
    "LARGE",
    "SMALL",
    "TARGET",
    "WIDE",
    "compiled",
    "run",
    "same",
]

# Nearly all whole-machine tests run on this one, whose simulator is built once and kept.
CONFIG = sizes(d_model=64, vocab_size=53, ngroups=2)
TARGET = made_up(lanes=2, state_elements=32, state_port_bits=128, x_queue=2, z_queue=2)
# All tests of several tokens per pass run on this one. It is made for the larger model, whose rows
# are so long that two lanes make few: they leave one by one, on TARGET in pairs.
SMALL = {"lanes": 2, "state_port_bits": 128, "x_queue": 8, "z_queue": 8}
FOUR = replace(
    made_up(tokens=4, state_elements=8, packed=True, copies=2, turn=8, **SMALL), name="four tokens"
)
LARGE = sizes(d_model=160, vocab_size=53, ngroups=2, d_state=40)
# Projections with widths of their own, so that it runs those too.
WIDE = Formats(
    exceptions=(
        FormatException(0, "in_proj", 8, 8), FormatException(0, "out_proj", 8, 4),
        FormatException(1, "out_proj", 4, 8), FormatException(2, "in_proj", 4, 8),
        FormatException(3, "out_proj", 8, 8),
    )
)  # fmt: skip
HARDWARE = plan(resized(LARGE, n_layer=4), WIDE, FOUR)


def compiled(
    folder: Path,
    config: ModelConfig,
    target: Target,
    formats: Formats | None = None,
    *,
    seed: int = 0,
    order: str = "reordered",
    model: QuantizedModel | None = None,
    hardware: ArchConfig | None = None,
) -> Path:
    """Build directory of a random model, or of the one given."""
    model = model or random_model(config, formats, seed)
    name = f"{config.d_model}-{config.n_layer}-{target.name}-{seed}-{order}".replace(" ", "-")
    build(model, target, folder / name, order=order, hardware=hardware, force=True)
    return folder / name


def run(opened: Opened, tokens: int, *, prompt: Sequence[int] = (1, 2)) -> list[GoldenStep]:
    """A prompt, its logits wanted at the end only, then greedy tokens; all must agree."""
    steps = list(opened.golden.run(prompt, tokens))
    for step in steps:
        same(step)
    assert len(steps) == tokens
    return steps


def same(step: GoldenStep) -> None:
    """Fail with the first difference, if there is one."""
    assert step.difference is None, f"{step.difference} (cycle {step.cycle})"
    assert sum(step.stalls.values()) == step.cycles
