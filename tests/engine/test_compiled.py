"""The compiled operations give the integers of the reference, all of them."""

import numpy as np
import pytest

from lightmamba.engine import Engine
from lightmamba.qmodel import QuantizedModel
from tests.engine.models import CASES, assert_same_state, case, config, run, tokens
from tests.support.qmodels import random_model


def assert_equal_paths(model: QuantizedModel, batch: int, seqlen: int) -> None:
    ids = tokens(model, batch, seqlen)
    fast, fast_state, fast_lost = run(model, ids)
    slow, slow_state, slow_lost = run(model, ids, compiled=False)
    assert list(fast) == list(slow)
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name], err_msg=name)
    assert_same_state(fast_state, slow_state)
    assert dict(fast_lost) == dict(slow_lost)
    assert fast_lost["clipped"] > 0


@pytest.mark.parametrize("name", CASES)
def test_equals_reference(name):
    assert_equal_paths(case(name), batch=2, seqlen=12)


@pytest.mark.parametrize("name", ["w4a4", "w4a8-groups", "blocks-of-128"])
def test_equals_reference_with_comparison_inputs(name):
    model = case(name, comparison=True)
    assert not model.plain
    assert_equal_paths(model, batch=2, seqlen=12)


def test_equals_reference_over_thousands_of_tokens():
    model = random_model(config(headdim=32, d_state=32, n_layer=2))
    assert_equal_paths(model, batch=16, seqlen=260)


def test_dither_goes_on_past_many_tokens():
    """A sequence far along: the position is that of the state, and large."""
    model = random_model(config(headdim=32, d_state=64))
    ids = tokens(model, 2, 6)
    results = []
    for compiled in (True, False):
        engine = Engine(model, compiled=compiled)
        _, state = engine.forward(ids, engine.empty_state(2))
        state.position[:] = (1 << 40) + 3, 77
        results.append(engine.forward(ids, state)[1])
    assert_same_state(*results)
    np.testing.assert_array_equal(results[0].position, [(1 << 40) + 9, 83])


def test_dither_reaches_the_state():
    """Equality above means nothing if both ignored the position."""
    model = random_model(config(headdim=32, d_state=32))
    ids = tokens(model, 1, 8)
    engine = Engine(model)
    later = engine.empty_state(1)
    later.position[:] = 5
    first, second = (engine.forward(ids, s)[1] for s in (engine.empty_state(1), later))
    assert any((a != b).any() for a, b in zip(first.h, second.h, strict=True))
