"""A pass over sequences of different lengths: each gets what it gets alone."""

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Digests, Engine, first_difference
from tests.engine.models import assert_same_state
from tests.support.builders import TINY, random_model


@pytest.fixture(scope="module", params=["kernels", "numpy", "comparison"])
def engine(request):
    """By whole passes, and by the two paths that run a sequence at a time."""
    model = random_model(TINY, comparison=request.param == "comparison")
    return Engine(model, compiled=request.param != "numpy")


def slot(rng, row):
    """Some tokens of a row, and logits of some of the last ones."""
    tokens = rng.integers(0, 61, rng.integers(1, 9))
    return Slot(row, tokens, wanted=int(rng.integers(len(tokens) + 1)))


def made(row, ids, wanted=1):
    return Slot(row, np.array(ids, dtype=np.int64), wanted, fresh=True)


def test_a_pass_gives_each_sequence_its_own(engine):
    rng = np.random.default_rng(5)
    state = engine.empty_state(6)
    alone = {row: engine.empty_state(1) for row in range(6)}
    for _ in range(6):
        rows = rng.permutation(6)[: rng.integers(1, 6)]
        work = Pass(tuple(slot(rng, int(row)) for row in rows))
        before = state.fork()
        logits = iter(engine.run(work, state))
        for one in work.slots:
            wanted, alone[one.sequence] = engine.forward(
                one.tokens[None], alone[one.sequence], last_only=False
            )
            for place in range(len(one.tokens) - one.wanted, len(one.tokens)):
                np.testing.assert_array_equal(next(logits), wanted[0, place])
        assert next(logits, None) is None
        for row in range(6):
            single = alone[row] if row in rows else before.take(slice(row, row + 1))
            assert_same_state(state.take(slice(row, row + 1)), single)


def test_a_long_pass_is_cut(engine, monkeypatch):
    """Undecided tokens stay in one piece; the next pass accepts some of them."""
    ids = np.arange(40) % 61
    first = Pass((Slot(2, ids[:21], 15, commit=19), Slot(0, ids[:5]), Slot(1, ids[:9], wanted=0)))
    then = Pass((Slot(0, ids[5:]), Slot(2, ids[:3], 2, replay=1)))
    states = [engine.empty_state(3, undecided=2) for _ in range(2)]
    whole = [engine.run(work, states[0]) for work in (first, then)]
    monkeypatch.setattr("lightmamba.engine.engine.PIECE", 8)
    sizes: list[int] = []
    inner = engine._part

    def noted(work, **more):
        sizes.append(work.tokens)
        return inner(work, **more)

    monkeypatch.setattr(engine, "_part", noted)
    for work, wanted in zip((first, then), whole, strict=True):
        np.testing.assert_array_equal(engine.run(work, states[1]), wanted)
    assert sizes == [8, 8, 5, 5, 8, 1, 8, 8, 8, 8, 6]
    assert_same_state(states[1], states[0])


def test_some_rows_of_a_state_are_observed(engine):
    """Their observables are those of a state of these rows alone."""
    ids, state = np.arange(12).reshape(3, 4), engine.empty_state(3)
    engine.forward(ids, state)
    alone, seen, wanted = state.take(slice(1, 3)), Digests(keep=True), Digests(keep=True)
    engine.run(Pass((Slot(1, ids[0]), Slot(2, ids[1]))), state, observe=seen)
    engine.forward(ids[:2], alone, observe=wanted)
    assert first_difference(wanted, seen) is None


def test_slots_that_are_observed_are_one_array(engine):
    ids, state = np.arange(4), engine.empty_state(2)
    for slots in ((Slot(0, ids), Slot(1, ids[:3])), (Slot(1, ids), Slot(0, ids))):
        with pytest.raises(ValueError, match="adjacent rows"):
            engine.run(Pass(slots), state, observe=lambda name, value: None)


@pytest.mark.parametrize("wrong", [{"replay": 1}, {"commit": 0}])
def test_a_pass_that_is_refused_for_undecided_tokens_changes_nothing(engine, wrong):
    """Neither slots before the wrong one, nor one that begins anew."""
    state, ids = engine.empty_state(3), np.arange(5)
    engine.run(Pass((Slot(0, ids), Slot(1, ids), Slot(2, ids))), state)
    before = state.fork()
    work = Pass((Slot(0, ids), Slot(1, ids, fresh=True), Slot(2, ids, **wrong)))
    with pytest.raises(InputError, match="undecided"):
        engine.run(work, state)
    assert_same_state(state, before)


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ([], "a pass needs at least one token"),
        ([(0, [])], "at least one"),
        ([(0, [[1]])], "must be \\(count,\\)"),
        ([(0, [1, 2], 3)], "a slot of 2 tokens has no logits of its last 3"),
        ([(0, [1, 2], -1)], "has no logits of its last -1"),
        ([(2, [1])], "sequence 2 is not of a state of 2"),
        ([(-1, [1])], "sequence -1 is not of a state"),
        ([(0, [1]), (1, [1]), (0, [2])], "sequence 0 is in a pass twice"),
        ([(0, [61])], "token id 61 is outside the vocabulary of 61; ids go from 0 to 60"),
        ([(0, [-1])], "token id -1 is outside the vocabulary of 61"),
    ],
)
def test_what_is_refused(engine, slots, sentence):
    """And nothing is begun again before it is."""
    state = engine.empty_state(2)
    engine.run(Pass((Slot(0, np.array([7])), Slot(1, np.array([8])))), state)
    before = state.fork()
    with pytest.raises(InputError, match=sentence):
        engine.run(Pass(tuple(made(*slot) for slot in slots)), state)
    assert_same_state(state, before)
