"""A pass that fails: its sequences are refused, nothing is counted, and all others go on."""

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from lightmamba.engine.engine import PIECE
from tests.blocks.test_hybrids import model as hybrid
from tests.engine.models import assert_same_state, case

MODELS = {"mamba2": lambda: case("w4a4"), "hybrid": lambda: hybrid("W4A4")}
ENDED = "the last pass of sequence 1 failed and left its state between two tokens; begin the seq"


class Stop(Exception):
    """Raised by an observer."""


def failing(after: int):
    """Observer that raises at a call."""
    left = iter(range(after))

    def observe(name, array):
        if next(left, None) is None:
            raise Stop

    return observe


@pytest.fixture(params=[True, False], ids=["compiled", "numpy"])
def compiled(request):
    return request.param


@pytest.mark.parametrize("after", [0, 1, 20, 45])
@pytest.mark.parametrize("name", MODELS)
def test_an_observer_that_raises(name, compiled, after):
    """The failed sequence is refused until it begins again; the other one goes on."""
    engine, ids = Engine(MODELS[name](), compiled=compiled), np.array([[5, 6, 7], [8, 9, 10]])
    _, state = engine.forward(ids, engine.empty_state(2))
    before, counted = state.fork(), engine.counters.copy()
    one = Pass((Slot(1, np.array([3, 4])),))
    with pytest.raises(Stop):
        engine.run(one, state, failing(after))
    assert engine.counters == counted
    for use in (
        lambda: engine.run(one, state), state.fork,
        lambda: engine.forward(np.array([[1], [2]]), state),
        lambda: before.fork().put(0, state.view(slice(1, 2))),
    ):  # fmt: skip
        with pytest.raises(InputError, match=ENDED.replace("1", "[01]")):
            use()
    state.put(1, before.take(slice(1, 2)))
    assert_same_state(state, before)
    for fresh in (False, True):
        work = Pass((Slot(0, np.array([11]), fresh=fresh), Slot(1, np.array([3, 4]), fresh=fresh)))
        np.testing.assert_array_equal(engine.run(work, state), engine.run(work, before))
    assert_same_state(state, before)
    with pytest.raises(Stop):
        engine.run(one, state, failing(after))
    again, other = Slot(1, np.array([3]), fresh=True), Engine(MODELS[name](), compiled=compiled)
    found = engine.run(Pass((again,)), state)
    np.testing.assert_array_equal(found, other.run(Pass((again,)), other.empty_state(2)))
    with pytest.raises(Stop):
        engine.forward(ids, before, observe=failing(after))
    with pytest.raises(InputError, match="the last pass of sequence 0 failed"):
        engine.forward(ids, before)


def test_what_a_failed_pass_counted_is_forgotten(compiled):
    """Counters after it are those of an engine that never ran it."""
    engine, other = (Engine(case("w4a4"), compiled=compiled) for _ in range(2))
    rng = np.random.default_rng(0)
    ids = rng.integers(60, size=(1, 40))
    with pytest.raises(Stop):
        engine.forward(ids, engine.empty_state(1), observe=failing(30))
    for each in (engine, other):
        each.forward(ids, each.empty_state(1))
    assert sum(other.counters.values()) > 0
    assert engine.counters == other.counters


def test_a_long_pass_that_fails_in_its_second_piece(compiled, monkeypatch):
    """An interrupt, say: what the first piece changed and counted is not gone on with.

    Neither are tokens that were undecided before it.
    """
    engine, pieces = Engine(case("w4a4"), compiled=compiled), list[int]()
    part = engine._part

    def interrupted(work, **given):
        pieces.append(work.tokens)
        if len(pieces) == 2:
            raise KeyboardInterrupt
        return part(work, **given)

    state, ids = engine.empty_state(2, undecided=2), np.zeros(PIECE + 1, int)
    engine.run(Pass((Slot(1, ids[:3], commit=1),)), state)
    counted = engine.counters.copy()
    monkeypatch.setattr(engine, "_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.run(Pass((Slot(1, ids, replay=1),)), state)
    assert (pieces, engine.counters) == ([PIECE, 1], counted)
    for _ in range(2):
        with pytest.raises(InputError, match=ENDED):
            engine.run(Pass((Slot(1, ids[:1], replay=1),)), state)
        state.record.accept(1, 0)
    engine.run(Pass((Slot(0, ids[:3]),)), state)
