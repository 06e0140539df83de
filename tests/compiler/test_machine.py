"""A build directory says the model: carried out by the letter, it gives the engine's logits."""

import numpy as np
import pytest

from lightmamba.engine import Engine
from tests.compiler.cases import CASES, compiled
from tests.compiler.machine import Machine


@pytest.mark.parametrize("name", CASES)
def test_equals_the_engine(name, tmp_path):
    model, artifact = compiled(name, tmp_path / "build")
    _compare(model, artifact)


@pytest.mark.parametrize("name", ["groups", "odd", "shared"])
def test_equals_the_engine_in_the_naive_order(name, tmp_path):
    model, artifact = compiled(name, tmp_path / "build", order="naive")
    assert artifact.order == "naive"
    _compare(model, artifact)


def _compare(model, artifact):
    machine, engine = Machine(artifact), Engine(model, compiled=False)
    state = engine.empty_state(1)
    for position, token in enumerate((3, 5, 0)):
        expected, state = engine.step(np.array([token]), state)
        got = machine.step(token, position, head=position != 1)
        if position != 1:
            np.testing.assert_array_equal(got, expected[0])
            assert machine.next == np.argmax(expected[0, : model.valid_vocab])
    assert len(set(expected[0].tolist())) > 4  # not all of it saturated or zero
