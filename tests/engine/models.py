"""Models of many shapes and formats, and how to run one."""

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import Engine, State
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.support.builders import W4A4, W4A8, W8A8, random_model, sizes

CASES: dict[str, tuple[ModelConfig, Formats]] = {
    "w4a4": (sizes(headdim=16), W4A4),
    "w4a8-groups": (
        sizes(d_model=192, ngroups=2, headdim=64, d_state=32),
        W4A8,
    ),
    "w8a8": (sizes(headdim=32), W8A8),
    "d_state-288": (sizes(d_model=80, headdim=16, d_state=288, vocab_size=77), W4A4),
    "eight-groups": (sizes(d_model=128, ngroups=8, headdim=32, d_state=48), W4A4),
    "headdim-128": (sizes(d_model=128, headdim=128, d_state=128), W4A4),
    "headdim-48": (sizes(d_model=72, headdim=48, d_state=40), W4A8),
    "hadamard-whole": (sizes(d_model=192, headdim=64, d_state=32), Formats(hadamard=0)),
    "hadamard-whole-groups": (sizes(d_model=64, ngroups=2, headdim=32), Formats(hadamard=0)),
    "hadamard-none": (sizes(d_model=64, ngroups=2, headdim=32), Formats(hadamard=1)),
    "state-12": (sizes(headdim=32, d_state=64), Formats(state_bits=12)),
    "state-16": (sizes(headdim=32, d_state=64), Formats(state_bits=16)),
    "half-up": (sizes(headdim=32, d_state=64), Formats(state_rounding="half_up")),
    "half-up-12": (
        sizes(headdim=32, d_state=64),
        Formats(state_bits=12, state_rounding="half_up"),
    ),
    "blocks-of-128": (sizes(headdim=32), Formats(block=128, head_block=128)),
    "exceptions": (
        sizes(headdim=32, n_layer=3),
        Formats(
            exceptions=(
                FormatException(0, "in_proj", 8, 8),
                FormatException(0, "out_proj", 8, 4),
                FormatException(1, "out_proj", 4, 8),
                FormatException(2, "in_proj", 4, 8),
            )
        ),
    ),
    "exceptions-narrower": (
        sizes(headdim=32),
        Formats(8, 8, exceptions=(FormatException(1, "in_proj", 4, 4),)),
    ),
    "three-taps": (
        sizes(headdim=16, d_conv=3, conv_bias=False, dt_limit=(0.01, 0.1)),
        Formats(group=64, block=16, hadamard=64),
    ),
}


@cache
def case(name: str, comparison: bool = False) -> QuantizedModel:
    """Model of a case."""
    return random_model(*CASES[name], seed=len(name), comparison=comparison)


def run(
    model: QuantizedModel, ids: NDArray[np.int64], **options: Any
) -> tuple[dict[str, NDArray[np.int64]], State, Counter[str]]:
    """Everything observed over some tokens, the state after them, and what saturated."""
    engine, seen = Engine(model, **options), {}

    def observe(name: str, value: NDArray[Any]) -> None:
        assert name not in seen, name
        seen[name] = value.astype(np.int64)

    state = engine.empty_state(len(ids))
    logits, state = engine.forward(ids, state, last_only=False, observe=observe)
    np.testing.assert_array_equal(logits, seen["head.logits"])
    return seen, state, engine.counters


def assert_same_state(ours: State, theirs: State) -> None:
    """Every array equal."""
    np.testing.assert_array_equal(ours.position, theirs.position)
    assert ours.layout == theirs.layout
    for i in range(len(ours.layout.layers)):
        for part, value in ours.layer(i).items():
            np.testing.assert_array_equal(
                value, theirs.layer(i)[part], err_msg=f"{part} of layer {i}"
            )
