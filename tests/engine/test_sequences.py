"""However tokens are fed, the integers are the same."""

import numpy as np
import pytest

from lightmamba.engine import Engine, State
from tests.engine.models import assert_same_state, case
from tests.support.builders import random_model, sizes, token_ids


@pytest.mark.parametrize("compiled", [True, False])
def test_a_fork_goes_its_own_way(compiled):
    """The given state goes on in place; its fork stays where it was."""
    model = case("w4a4")
    engine, ids = Engine(model, compiled=compiled), token_ids(model.config, 2, 4)
    _, state = engine.forward(ids, engine.empty_state(2))
    fork, kept = state.fork(), state.fork()
    first, after = engine.forward(ids, state)
    assert after is state
    assert_same_state(fork, kept)
    assert (state.layer(0)["h"] != kept.layer(0)["h"]).any()
    second, _ = engine.forward(ids, fork)
    np.testing.assert_array_equal(first, second)
    assert_same_state(fork, state)


def test_taken_sequences_are_copies_in_any_order():
    model = case("w4a4")
    engine, ids = Engine(model), token_ids(model.config, 3, 4)
    _, state = engine.forward(ids, engine.empty_state(3))
    assert len(state) == 3
    part = state.take(slice(1, 3))
    part.layer(0)["h"][:] = 0
    assert state.layer(0)["h"][1:].any(), "take must copy"
    order = [1, 2, 0]
    logits, _ = engine.forward(ids[order], state.take(np.array(order)))
    wanted, _ = engine.forward(ids, state)
    np.testing.assert_array_equal(logits, wanted[order])


def test_a_view_writes_through():
    state = State.empty(case("w4a4"), 3)
    state.view(slice(1, 2)).position += 7
    np.testing.assert_array_equal(state.position, [0, 7, 0])


def test_real_valued_logits():
    model = random_model(sizes(headdim=16))
    engine, ids = Engine(model), token_ids(model.config, 1, 3)
    real, _ = engine.logits(ids, engine.empty_state(1))
    integers, _ = engine.forward(ids, engine.empty_state(1), last_only=False)
    assert real.dtype == np.float64
    np.testing.assert_array_equal(real * 2.0**-model.logit_exp, integers)
