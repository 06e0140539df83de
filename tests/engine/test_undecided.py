"""Tokens that may be given up leave no trace: any passes give what single steps give."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from lightmamba.native import usable_isas
from tests.blocks.test_hybrids import FORMATS
from tests.blocks.test_hybrids import model as hybrid
from tests.engine.models import assert_same_state, case

CASES = ("w4a4", "w4a8-groups", "state-12", "three-taps")
MODELS = (
    {name: lambda name=name: case(name) for name in CASES}
    | {"comparison": lambda: case("w4a4", comparison=True)}
    | {f"hybrid, {name}": lambda name=name: hybrid(name) for name in FORMATS}
)


@cache
def by_steps(name, ids):
    """Logits, state and counters after single steps of the truth."""
    engine = Engine(MODELS[name](), compiled=False)
    state, logits = engine.empty_state(1), []
    for token in ids:
        out, state = engine.step(np.array([token]), state)
        logits.append(out[0])
    return np.stack(logits), state, engine.counters


class Sequence:
    """A text that is fed in slots of random lengths, some with wrong tokens at their ends."""

    def __init__(self, ids, row, rng, room):
        self.ids, self.row, self.rng, self.room = ids, row, rng, room
        self.sure = 0  # tokens that are committed
        self.right = 0  # undecided ones that are those of the text
        self.logits = {}

    def slot(self, vocab):
        replay = int(self.rng.integers(self.right + 1))
        at = self.sure + replay
        commit = int(self.rng.integers(min(3, len(self.ids) - at) + 1))
        trial = int(self.rng.integers(self.room + 1)) or (not commit)
        after = min(int(self.rng.integers(trial + 1)), len(self.ids) - at - commit)
        wrong = self.rng.integers(vocab, size=trial - after)
        tokens = np.concatenate([self.ids[at : at + commit + after], wrong])
        self.known = [*range(at, at + commit + after), *[None] * len(wrong)]
        self.sure, self.right = at + commit, after
        return Slot(self.row, tokens, len(tokens), at == 0, replay, commit)

    def take(self, logits):
        for position, row in zip(self.known, logits, strict=True):
            if position is not None:
                self.logits[position] = row


@pytest.mark.parametrize("compiled", [*usable_isas(), None])
@pytest.mark.parametrize("name", MODELS)
def test_random_passes_are_single_steps(name, compiled):
    model, rng = MODELS[name](), np.random.default_rng(len(name))
    engine = Engine(model, compiled=compiled is not None, isa=compiled, threads=2)
    vocab, room = model.config.vocab_size, 4
    texts = [rng.integers(vocab, size=n) for n in (14, 40, 9)]
    state = engine.empty_state(len(texts), undecided=room)
    all_of = [Sequence(ids, row, rng, room) for row, ids in enumerate(texts)]
    while left := [s for s in all_of if s.sure < len(s.ids)]:
        some = [s for s in left if rng.random() < 0.8] or left
        slots = [s.slot(vocab) for s in some]
        logits = engine.run(Pass(tuple(slots)), state)
        for slot, sequence in zip(slots, some, strict=True):
            sequence.take(logits[: slot.wanted])
            logits = logits[slot.wanted :]
    counters: Counter[str] = Counter()
    for sequence in all_of:
        wanted, after, lost = by_steps(name, tuple(sequence.ids))
        for position in range(len(sequence.ids)):
            np.testing.assert_array_equal(sequence.logits[position], wanted[position])
        counters += lost
        state.record.accept(sequence.row, 0)
        assert_same_state(state.take(slice(sequence.row, sequence.row + 1)), after)
    assert engine.counters == counters
    assert counters["clipped"] > 0


@pytest.mark.parametrize("compiled", [True, False])
def test_what_the_next_pass_does_not_accept_is_forgotten(compiled):
    engine = Engine(case("w4a4"), compiled=compiled)
    ids = np.arange(6)
    state = engine.empty_state(1, undecided=4)
    engine.run(Pass((Slot(0, ids[:5], commit=1),)), state)
    assert state.position[0] == 1
    engine.forward(ids[None, 1:3], state)
    _, after, _ = by_steps("w4a4", tuple(ids[:3]))
    assert_same_state(state, after)
    with pytest.raises(InputError, match="accepts 1 tokens of sequence 0, but 0 are undecided"):
        engine.run(Pass((Slot(0, ids[:1], replay=1),)), state)


@pytest.mark.parametrize("compiled", [True, False])
def test_an_open_state_is_not_copied(compiled):
    engine = Engine(case("w4a4"), compiled=compiled)
    state, closed = engine.empty_state(2, undecided=2), engine.empty_state(1)
    ids = np.arange(3)
    engine.run(Pass((Slot(1, ids, commit=1),)), state)
    state.take(slice(0, 1))
    for copy in (state.fork, lambda: closed.put(0, state.view(slice(1, 2)))):
        with pytest.raises(ValueError, match="undecided"):
            copy()
    engine.run(Pass((Slot(1, ids[:1], replay=2),)), state)
    assert len(state.fork()) == 2
    with pytest.raises(InputError, match="leaves 3 tokens of sequence 0 undecided"):
        engine.run(Pass((Slot(0, ids, commit=0),)), state)


def test_a_slot_says_what_is_wrong():
    with pytest.raises(InputError, match="cannot commit 3"):
        Pass((Slot(0, np.arange(2), commit=3),))
    with pytest.raises(InputError, match="its sequence begins"):
        Pass((Slot(0, np.arange(2), fresh=True, replay=1),))


def test_a_long_pass_without_memory_feeds_nothing(monkeypatch):
    model, ids = case("w4a4"), np.arange(600) % 61
    engine = Engine(model)
    state = engine.empty_state(2, undecided=4)
    engine.run(Pass((Slot(1, ids[:4], commit=1),)), state)

    def full(row, tokens):
        if tokens > 600:
            raise MemoryError

    monkeypatch.setattr(state, "reserve", full)
    with pytest.raises(MemoryError):
        engine.run(Pass((Slot(0, ids), Slot(1, ids, replay=1))), state)
    assert (state.position == [0, 1]).all()
    assert len(state.record.open[1].ids) == 3
    with pytest.raises(MemoryError):  # the other sequence has not ended
        engine.run(Pass((Slot(1, ids[:1], fresh=True), Slot(0, np.arange(700) % 61))), state)
    assert (state.position == [0, 1]).all()
    assert len(state.record.open[1].ids) == 3
