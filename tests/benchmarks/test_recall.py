"""Recall over filler: the task, its small model, and states compared with each other."""

import argparse
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from bench import recall, recall_train
from bench.recall import Answers, answer, decays, quantized
from bench.recall_task import Task
from bench.recall_train import MODELS, Distance, RecallOptions, folder, train

from lightmamba.engine import Engine
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import load_checkpoint

SMALL = Task(pairs=2, keys=4, values=4, filler=4)
TINY = RecallOptions(
    layers="M", d_model=32, d_state=32, headdim=16, steps=140, tokens=256, first=4, longest=6
)


@pytest.fixture(scope="module")
def stored():
    return load_checkpoint(folder("mamba2"))


def test_an_answer_is_the_value_of_its_key():
    task = Task(pairs=5, keys=9, values=7, filler=3)
    cases = task.cases(20, 11, np.random.default_rng(0))
    assert cases.ids.shape == (20, task.tokens(11)) == (20, 26)
    for row, answers in zip(cases.ids, cases.answers, strict=True):
        pairs, filler, asked = np.split(row, [10, 21])
        known = dict(pairs.reshape(-1, 2))
        assert len(known) == 5
        assert sorted(asked) == sorted(known)
        assert [known[key] for key in asked] == list(answers)
        assert set(known) <= set(range(9))
        assert set(known.values()) <= set(range(9, 16))
        assert set(filler) <= set(range(16, 19))
    assert (cases.ids[:, 21:] != cases.ids[:, :10:2]).any()  # in another order
    assert task.vocab_size == 19


def test_more_pairs_than_keys_are_refused():
    with pytest.raises(ValueError, match="pairs must be 1 to 4"):
        Task(pairs=5, keys=4)


def test_filler_grows_when_the_model_is_right():
    distance = Distance(RecallOptions(first=10, longest=20, grow=1.5))
    for _ in range(200):
        distance.seen(0.9)
    assert distance.longest == 10
    distance.seen(1.0)
    grown = []
    for _ in range(200):
        distance.seen(1.0)
        grown.append(distance.longest)
    assert sorted(set(grown)) == [10, 15, 20]
    drawn = [distance.draw(np.random.default_rng(i)) for i in range(200)]
    assert max(drawn) == 20
    assert min(drawn) < 4
    assert 80 < drawn.count(20) < 140


def test_a_short_training_learns_which_values_came():
    cases = SMALL.cases(64, 5, np.random.default_rng(0))
    before, after = (
        answer(FloatModel(train(o, SMALL), SMALL.vocab_size), cases)
        for o in (replace(TINY, steps=0), TINY)
    )
    assert before.right.mean() < 0.3  # one of four by guessing
    assert after.right.mean() > 0.45  # one of the two that came
    assert after.nll.mean() < 0.8 * before.nll.mean()


class Recorded(Task):
    """A task that keeps what it drew."""

    drawn: ClassVar[list[bytes]] = []

    def cases(self, count, distance, rng):
        found = super().cases(count, distance, rng)
        self.drawn.append(found.ids.tobytes())
        return found


def test_training_depends_on_its_seed_alone():
    def run(seed, steps):
        Recorded.drawn.clear()
        task = Recorded(pairs=2, keys=4, values=4, filler=4)
        model = train(replace(TINY, seed=seed, steps=steps), task)
        return {name: p.detach() for name, p in model.named_parameters()}, list(Recorded.drawn)

    for steps in (0, 2):
        (one, drawn), (same, again), (other, others) = (run(seed, steps) for seed in (1, 1, 2))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["embedding.weight"], other["embedding.weight"])
        assert drawn == again
        assert len({*drawn, *others}) == 2 * steps


def test_the_command_trains_and_writes_a_checkpoint(monkeypatch, tmp_path):
    words = ["recall_train", "-o", str(tmp_path / "made"), "--steps", "1", "--seed", "5"]
    monkeypatch.setattr(sys, "argv", words)
    recall_train.main()
    made = load_checkpoint(tmp_path / "made").model
    wanted = train(RecallOptions(steps=1, seed=5), Task())
    for name, value in wanted.named_parameters():
        assert torch.equal(made.state_dict()[name], value.bfloat16().float())


@pytest.mark.parametrize("name", MODELS)
def test_the_stored_models_recall_and_by_their_state(name):
    stored = load_checkpoint(folder(name))
    task, model = Task(), FloatModel(stored.model, stored.valid_vocab)
    cases = task.cases(16, 1000, np.random.default_rng(7))
    assert answer(model, cases).right.mean() > 0.99
    assert answer(model, cases, forget=True).right.mean() < 0.05
    assert stored.config.vocab_size == task.vocab_size


def test_decays_are_those_of_the_recurrence(stored):
    task = Task(pairs=1)
    cases = task.cases(1, 1, np.random.default_rng(0))
    found = list(decays(stored, task, cases))
    ids, (layer, *_) = torch.from_numpy(cases.ids), stored.model.layers
    seen = []
    with torch.no_grad():
        caches = stored.model.empty_caches(1)
        for token in range(3):
            caches[0].ssm_state.fill_(1e30)  # what is added is negligible next to it
            _, caches = stored.model.step(ids[:, token], caches)
            seen.append(-np.log(caches[0].ssm_state[0, :, 0, 0].double().numpy() / 1e30))
    for head in range(layer.mixer.sizes.nheads):
        assert found[head]["filler"] == pytest.approx(seen[2][head], rel=1e-3, abs=1e-6)
        assert found[head]["pairs"] == pytest.approx((seen[0] + seen[1])[head] / 2, rel=1e-3,
                                                     abs=1e-6)  # fmt: skip
        assert found[head]["left"] == pytest.approx(np.exp(-seen[2][head]), rel=1e-3)


def test_differences_are_taken_sequence_by_sequence():
    one = Answers(np.array([1.0, 0.5, 0.0]), np.array([0.1, 0.2, 0.6]))
    other = Answers(np.array([0.75, 0.25, -0.25]), np.zeros(3))
    less = one.less(other)
    assert less["accuracy"] == 0.25
    assert less["accuracy_standard_error"] == 0
    assert less["nll"] == pytest.approx(0.3)
    assert less["nll_standard_error"] == pytest.approx(np.std([1, 2, 6], ddof=1) / 10 / 3**0.5)


def test_states_are_measured_next_to_the_widest(stored):
    cases = Task().cases(4, 30, np.random.default_rng(1))
    model = quantized(stored, "w8a8", 2)
    args = argparse.Namespace(states=["8, dither", "8, half up"], threads=1)
    real = answer(FloatModel(stored.model, stored.valid_vocab), cases)
    rows = list(recall.engines(model, cases, real, args))
    assert [r["state"] for r in rows] == [recall.WIDE, "8, dither", "8, half up"]
    wide, narrow, up = (row["nll"] for row in rows)
    assert narrow == answer(Engine(model), cases).nll.mean()
    assert len({wide, narrow, up}) == 3
    assert rows[0]["against_wide"]["nll"] == 0
    assert rows[1]["against_wide"]["nll"] == pytest.approx(narrow - wide)
    assert rows[1]["against_float"]["nll"] == pytest.approx(narrow - real.nll.mean())
