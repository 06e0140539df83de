"""Drafting changes when a token comes, never which one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import (
    Generation,
    ModelDrafter,
    NgramDrafter,
    Pace,
    Speculation,
    generate,
)  # fmt: skip
from lightmamba.text.continuation import Continuation
from tests.blocks.test_hybrids import model as hybrid
from tests.engine.models import case
from tests.text.test_generation import letter_tokenizer, next_letter, random_table

OPTIONS = {
    "greedy": SamplingOptions(temperature=0),
    "greedy, penalty": SamplingOptions(temperature=0, repetition_penalty=1.3),
    "sampled": SamplingOptions(temperature=0.9, top_p=0.9, repetition_penalty=1.1, seed=7),
    "hot": SamplingOptions(temperature=3.0, seed=1),
}
MODELS = {"mamba2": lambda: case("w4a4"), "hybrid": lambda: hybrid("W4A4")}
PROMPT = [3, 1, 4, 1, 5, 3, 1, 4]


class Oracle:
    """Knows the text; the lengths of drafts and of their accepted part are drawn."""

    def __init__(self, ids, vocab, seed=0):
        self.ids, self.vocab, self.rng = ids, vocab, np.random.default_rng(seed)

    def draft(self, ids, most, trial):
        assert list(ids) == self.ids[: len(ids)]
        count = int(self.rng.integers(most + 1))
        right = self.ids[len(ids) : len(ids) + int(self.rng.integers(count + 1))]
        wrong = self.rng.integers(self.vocab, size=count - len(right)).tolist()
        return [*right, *wrong]


class Steady(Pace):
    """Always as many drafted tokens as there is room for."""

    def length(self):
        return self.most


def drafted(decoder, options, drafter, tokens=60, **given):
    """Steps with as many drafted tokens as there is room for."""
    given |= {"max_tokens": tokens, "sampling": options, "drafter": drafter, "pace": Steady()}
    return list(generate(decoder, PROMPT, **given))


def plain(engine, options, tokens=60):
    return list(generate(engine, PROMPT, max_tokens=tokens, sampling=options))


@pytest.mark.parametrize("compiled", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", MODELS)
def test_the_text_is_the_same(kind, options, compiled):
    engine = Engine(MODELS[kind](), compiled=compiled)
    wanted = plain(engine, options)
    counted = engine.counters.copy()
    ids = PROMPT + [step.token_id for step in wanted]
    drafters: dict[str, Any] = {
        "ngram": NgramDrafter(),
        "oracle": Oracle(ids, engine.valid_vocab),
        "itself": ModelDrafter(engine, engine),
        "another": ModelDrafter(Engine(MODELS[kind](), compiled=False), engine),
    }
    for name, drafter in drafters.items():
        report = Speculation()
        engine.counters.clear()
        assert drafted(engine, options, drafter, report=report) == wanted, name
        if name == "oracle":
            assert 0 < report.accepted < report.drafted
            assert engine.counters == counted, "given-up tokens leave no count"
        if name in ("itself", "another"):
            assert report.acceptance == 1
            assert report.tokens_per_pass > 6


def test_drafts_stay_within_the_memory(monkeypatch):
    """The text is as long as without drafts, and no pass reaches beyond the last position."""
    engine, ends = Engine(case("w4a4")), []
    engine.context_length = len(PROMPT) + 20
    forward = engine.run

    def seen(work, state, *others):
        (slot,) = work.slots
        ends.append(int(state.position[0]) + slot.replay + len(slot.tokens))
        return forward(work, state, *others)

    monkeypatch.setattr(engine, "run", seen)
    wanted = plain(engine, OPTIONS["greedy"])
    assert (len(wanted), wanted[-1].finish_reason) == (21, "context")
    drafter = ModelDrafter(Engine(case("w4a4")), engine)
    found = generate(engine, PROMPT, max_tokens=60, sampling=OPTIONS["greedy"], drafter=drafter)
    assert list(found) == wanted
    assert max(ends) == engine.context_length


def test_a_pace_of_its_own_changes_nothing():
    engine = Engine(case("w4a4"))
    for name, options in OPTIONS.items():
        found = generate(engine, PROMPT, max_tokens=200, sampling=options, drafter=NgramDrafter())
        assert list(found) == plain(engine, options, 200), name


@pytest.mark.parametrize("tokens", range(1, 10))
def test_it_ends_where_the_text_ends(tokens):
    engine, options = Engine(case("w4a4")), OPTIONS["greedy"]
    wanted = plain(engine, options, tokens)
    every = PROMPT + [step.token_id for step in plain(engine, options, 40)]
    oracle = Oracle(every, engine.valid_vocab)
    assert drafted(engine, options, oracle, tokens) == wanted
    eos = wanted[-1].token_id
    stopped = drafted(engine, options, Oracle(every, 61), 40, stop_ids=[eos])
    again = generate(engine, PROMPT, max_tokens=40, sampling=options, stop_ids=[eos])
    assert stopped == list(again)
    assert stopped[-1].finish_reason == "eos"


def never():
    raise AssertionError("an n-gram draws nothing")


def test_an_ngram_goes_on_as_the_last_time():
    drafter = NgramDrafter(longest=3, shortest=2)
    assert list(drafter.draft([1, 2, 3, 4], 3, never)) == []
    assert list(drafter.draft([1, 2, 3, 4, 1, 2], 3, never)) == [3, 4, 1]
    assert list(drafter.draft([1, 2, 3, 4, 1, 2, 9], 3, never)) == []
    # The longest n-gram decides, and of equal ones the last.
    text = [1, 2, 3, 4, 1, 2, 9, 5, 2, 3, 7, 1, 2, 3]
    assert list(drafter.draft(text, 2, never)) == [4, 1]
    assert list(drafter.draft([*text, 8, 1, 2], 2, never)) == [3, 8]
    assert list(NgramDrafter(4, 2).draft([5, 6, 5, 6], 5, never)) == [5, 6, 5, 6, 5]


def test_another_vocabulary_is_refused():
    small, large = Engine(case("d_state-288")), Engine(case("w4a4"))
    with pytest.raises(InputError, match="the same tokenizer"):
        ModelDrafter(small, large)


def test_a_decoder_of_single_tokens_is_refused():
    with pytest.raises(InputError, match="takes one in a pass"):
        generate(
            random_table(), [1], max_tokens=4, sampling=OPTIONS["greedy"], drafter=NgramDrafter()
        )


def paced(right, cost, rounds=1000, drafting=0.0):
    """Tokens per second of a pace, with a share of drafted tokens accepted, against no drafting."""
    pace, rng = Pace(), np.random.default_rng(0)
    tokens = seconds = 0.0
    for _ in range(rounds):
        drafts = pace.length()
        hits = 0
        while hits < drafts and rng.random() < right:
            hits += 1
        took = 1 + cost * drafts
        pace.note(drafts, hits, took, drafting * drafts)
        tokens += hits + 1
        seconds += took + drafting * drafts
    return tokens / seconds


def test_what_does_not_pay_is_left():
    assert paced(0.0, 0.3) > 0.97
    assert paced(0.1, 0.5) > 0.96
    assert paced(0.5, 0.1, drafting=1.0) > 0.96


def test_what_pays_is_done():
    assert paced(0.95, 0.15) > 2.4
    assert paced(0.7, 0.15) > 1.4
    assert paced(0.99, 0.02) > 5.5


@pytest.mark.parametrize("slow", ["pass", "reading"])
def test_what_was_slow_once_is_forgotten(slow):
    """A slow pass, and a model's reading of the prompt before its first draft."""
    pace, made = Pace(), list[int]()
    for n in range(400):
        drafts = pace.length()
        seconds = 20.0 if slow == "pass" and n == 3 else 1 + 0.1 * drafts
        reading = 500.0 if slow == "reading" and not any(made) else 0.01 * drafts
        pace.note(drafts, drafts, seconds, reading if drafts else 0.0)
        made.append(drafts)
    assert sum(made[200:]) / 200 > 0.9 * pace.most


def test_a_text_that_begins_to_repeat_itself_is_noticed():
    pace = Pace()
    for _ in range(3000):
        drafts = pace.length()
        pace.note(drafts, 0, 1 + 0.3 * drafts, 0.0)
    passed = 0
    while (drafts := pace.length()) < 3:
        pace.note(drafts, drafts, 1 + 0.3 * drafts, 0.0)
        passed += 1 + drafts
        assert passed < 300


def test_asked_twice_a_model_drafts_nothing_the_second_time():
    engine = Engine(case("w4a4"))
    drafter = ModelDrafter(engine, engine)
    text = Continuation(engine, PROMPT, max_tokens=60, sampling=OPTIONS["greedy"])
    assert len(drafter.draft(PROMPT, 1, text.trial)) == 1
    assert list(drafter.draft(PROMPT, 3, text.trial)) == []
    assert len(drafter.draft([*PROMPT, 7], 3, text.trial)) == 3


def test_a_text_with_stop_strings():
    """Pieces and the stop are those of the plain text."""
    tokenizer, table = letter_tokenizer(), next_letter()
    given = {"stop_strings": ["EF"], "tokenizer": tokenizer, "sampling": OPTIONS["greedy"]}
    wanted = Generation.from_steps(generate(table, [0], max_tokens=20, **given))
    assert wanted.finish_reason == "stop"
    given |= {"drafter": Cycle(), "pace": Steady()}
    steps = generate(replace(table, undecided=7), [0], max_tokens=20, **given)
    found = Generation.from_steps(steps)
    assert found == wanted


class Cycle:
    def draft(self, ids, most, trial):
        return [(ids[-1] + 1 + n) % 8 for n in range(most)]
