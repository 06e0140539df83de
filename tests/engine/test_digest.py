"""Digests are stable, tell tensors apart, and lead to the first difference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lightmamba.engine import Digests, Engine, digest, first_difference
from lightmamba.model.qmodel import QuantizedModel
from tests.support.builders import random_model, sizes, token_ids
from tests.support.layers import mixer_of, with_mixer

NAMES = [
    "in_proj.rms", "in_proj.rms_shift", "in_proj.q", "in_proj.code", "in_proj.rows",
    "conv.out", "conv.state",
    "ssm.x", "ssm.x_exp", "ssm.B", "ssm.B_exp", "ssm.C", "ssm.C_exp",
    "ssm.dt", "ssm.dt_shift", "ssm.decay", "ssm.h", "ssm.h_exp", "ssm.y",
    "gate.g", "gate.weighted", "hadamard.out",
    "out_proj.rms", "out_proj.rms_shift", "out_proj.q", "out_proj.code", "out_proj.rows",
    "residual",
]  # fmt: skip


def observed(model: QuantizedModel, ids: NDArray[Any], **options: Any) -> Digests:
    """Digests of one sequence, fed token by token."""
    engine, digests = Engine(model, **options), Digests(keep=True)
    state = engine.empty_state(1)
    for token in ids[0]:
        _, state = engine.forward(np.array([[token]]), state, observe=digests)
    return digests


def test_worked_values():
    """Made once with another program: b2sum -l 64 over the bytes that the docstring says."""
    assert digest("a", np.array([1, -2])) == "4ac83d395f749650"
    assert digest("layer.0.ssm.h", np.zeros((1, 2), np.int8)) == "3cd7f7d700c912fe"


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20))
def test_the_type_does_not_matter(values):
    wide = np.array(values, dtype=np.int64)
    assert digest("x", wide) == digest("x", wide.astype(np.int8))
    assert digest("x", wide) == digest("x", np.repeat(wide, 2)[::2])
    assert digest("x", wide) != digest("y", wide)
    assert digest("x", wide) != digest("x", wide[None])
    wide[-1] += 1
    assert digest("x", wide) != digest("x", np.array(values))


def test_floats_have_none():
    with pytest.raises(ValueError, match="x holds float64, but only integers"):
        digest("x", np.zeros(3))


def test_every_documented_name_in_the_order_of_the_data():
    model = random_model(sizes(headdim=16))
    digests = observed(model, token_ids(model.config, 1, 2))
    layers = [f"layer.{i}.{name}" for i in range(2) for name in NAMES]
    head = [f"head.{name}" for name in ("rms", "rms_shift", "q", "code", "logits")]
    names = ["embedding", *layers, *head]
    assert list(digests) == [(token, name) for token in range(2) for name in names]


def test_equal_runs_do_not_differ():
    model = random_model(sizes(headdim=16))
    ids = token_ids(model.config, 1, 3)
    fast, slow = observed(model, ids), observed(model, ids, compiled=False)
    assert dict(fast) == dict(slow)
    assert first_difference(fast, slow) is None


def test_the_first_difference_is_found():
    """One norm weight of the second layer is changed: its products are the first to see it."""
    model = random_model(sizes(headdim=16))
    weight = mixer_of(model.layers[1]).gate_weight.copy()
    weight[5] += 2000
    layers = model.layers[0], with_mixer(model.layers[1], gate_weight=weight)
    ids = token_ids(model.config, 1, 3)
    ours, theirs = observed(model, ids), observed(replace(model, layers=layers), ids)
    found = first_difference(ours, theirs)
    assert found is not None
    assert (found.token, found.name, found.index) == (0, "layer.1.gate.weighted", (0, 0, 5))
    assert found.ours == ours.arrays[0, found.name][0, 0, 5]
    assert found.theirs == theirs.arrays[0, found.name][0, 0, 5]
    assert str(found).startswith("token 0, layer.1.gate.weighted[0, 0, 5]: ")


def test_the_first_of_several_values():
    ours, theirs = Digests(keep=True), Digests(keep=True)
    ours("embedding", np.array([[1, 2], [3, 4]]))
    theirs("embedding", np.array([[1, 5], [3, 6]]))
    assert str(first_difference(ours, theirs)) == "token 0, embedding[0, 1]: 2 here, 5 there"


def test_what_cannot_be_located():
    x = np.array([[1, 2]])
    ours, theirs = Digests(keep=True), Digests()
    for run, values in ((ours, x), (theirs, x + 1)):
        run("embedding", values)
    assert str(first_difference(ours, theirs)) == "token 0, embedding: the values differ"
    kept = Digests(keep=True)
    kept("embedding", x[0])
    assert "its shape is (1, 2) here, (2,) there" in str(first_difference(ours, kept))
    kept = Digests(keep=True)
    kept("embedding", x)
    ours("layer.0.conv.out", x)
    assert (
        str(first_difference(ours, kept)) == "token 0, layer.0.conv.out: there it was not observed"
    )
    assert (
        str(first_difference(kept, ours)) == "token 0, layer.0.conv.out: here it was not observed"
    )
    with pytest.raises(ValueError, match=r"layer.0.conv.out was observed twice at token 0"):
        ours("layer.0.conv.out", x)
