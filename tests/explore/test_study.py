"""The search: repeatable, resumable, and its front is a front."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from lightmamba.common.store import Store, read_store
from lightmamba.hardware.estimate.objectives import dominates
from lightmamba.study.explore.study import Search, remember
from tests.explore.standin import estimate, problem, target

TRIALS = 48  # half as many guesses as random draws


def search(asked, trials, *, seed=0, path=None):
    """Everything tried, in order."""
    with nullcontext() if path is None else study(path) as store:
        found = Search(asked, store, seed=seed)
        found.run(trials)
        return found.trials, found.tried, found.front


def study(path):
    return Store(path, "--study")


@pytest.fixture(scope="module")
def whole():
    return search(problem(), TRIALS)


def test_seed_reproduces(whole):
    assert search(problem(), TRIALS) == whole
    assert search(problem(), TRIALS, seed=1) != whole


def test_resume_continues_the_count(whole, tmp_path):
    path, seen = tmp_path / "study", []
    with study(path) as store:
        Search(problem(), store).run(20, lambda *done: seen.append(done))
    assert seen == [(n, 20) for n in range(1, 21)]
    assert len(search(problem(), 20, path=path)[0]) == 20  # nothing left to do
    assert len(search(problem(), 27, path=path)[0]) == 27  # in the middle of a batch
    with study(path) as store:
        again = Search(problem(), store)
        again.run(TRIALS, lambda *done: seen.append(done))
        assert again.counts()["trials"] == TRIALS
        assert [n for n, _ in seen] == [*range(1, 21), *range(28, TRIALS + 1)]
        assert (again.trials, again.tried, again.front) == whole


def test_an_interrupted_trial_is_tried_again(whole, tmp_path):
    path = tmp_path / "study"

    def stop(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with study(path) as store, pytest.raises(KeyboardInterrupt):
        Search(problem(), store).run(TRIALS, stop)
    with path.open("ab") as file:
        file.write(b'{"key":"half')
    assert search(problem(), TRIALS, path=path) == whole
    assert len(read_store(path)) == TRIALS


def test_what_was_judged_is_not_judged_again(whole, tmp_path):
    path = tmp_path / "study"
    search(problem(), TRIALS, path=path)

    def never(*_):
        raise AssertionError("it was estimated")

    assert search(replace(problem(), estimate=never), TRIALS, path=path) == whole


def test_the_front_is_one(whole):
    _, tried, front = whole
    objectives = problem().objectives
    assert len(front) > 3
    costs = [[o.cost(one.verdict.known) for o in objectives] for one in front]
    assert not any(dominates(a, b) for a in costs for b in costs)
    for one in tried:
        if problem().feasible(one.verdict):
            mine = [o.cost(one.verdict.known) for o in objectives]
            assert mine in costs or any(dominates(cost, mine) for cost in costs)


def test_the_base_is_tried_first(whole):
    space = problem().space
    for params, scheme in zip(whole[0], space.options["scheme"], strict=False):
        assert params == space.of_base(str(scheme))


def test_what_does_not_fit_is_a_constraint():
    """A small device: most machines are too large, none of them is on the front or estimated."""
    seen = []

    def counted(work, area):
        seen.append(work.target.machine)
        return estimate(work, area)

    asked = replace(problem(target(lut=6000)), estimate=counted)
    _, tried, front = search(asked, TRIALS)
    assert {one.candidate.machine for one in tried if one.verdict.share <= 1} == {*seen}
    large = [one for one in tried if one.verdict.share > 1]
    assert large
    assert front
    assert all(one.verdict.share <= 1 for one in front)


def test_what_is_refused_is_a_constraint():
    asked = problem()
    asked = replace(asked, space=replace(asked.space, options={
        **asked.space.options, "lanes": (2, 4, 100)}))  # fmt: skip
    found = Search(asked)
    found.run(TRIALS)
    refused = found.counts()["refused"]
    assert 0 < refused < TRIALS
    assert {one.candidate.machine.lanes for one in found.tried} == {2, 4}
    assert sum(trial.constraints["fits"] > 100 for trial in found.study.trials) == refused


def test_a_machine_is_estimated_once():
    asked, seen = problem(), []

    def counted(work, area):
        seen.append((work.formats, work.target))
        return estimate(work, area)

    asked = replace(asked, estimate=counted)
    narrow = {name: values[:1] for name, values in asked.space.options.items()}
    asked = replace(asked, space=replace(asked.space, options=narrow | {"lanes": (1, 2)}))
    assert len(search(asked, 12)[0]) == 12
    assert len(seen) == 2


def test_better_than_random(monkeypatch):
    """In a tight device it finds more than as many random draws."""
    asked = problem(target(lut=9000), objectives=("speed", "size"))

    def area(front):
        """Of what the front beats, per mille of the device times tokens per second."""
        known = [one.verdict.known for one in front]
        corners = [(k["tokens_per_second"], 1 - k["device_share"]) for k in known]
        ends = [speed for speed, _ in corners[1:]] + [0]
        return sum((s - end) * left for (s, left), end in zip(corners, ends, strict=True))

    ours = area(search(asked, 80)[2])
    monkeypatch.setattr("lightmamba.study.explore.study.RANDOM", 1000)
    assert ours > area(search(asked, 80)[2])


def test_another_search_finds_nothing_and_adds_its_own(whole, tmp_path):
    path = tmp_path / "study"
    search(problem(), TRIALS, path=path)
    for asked, seed in (
        (problem(), 1), (problem(target(lut=50_000)), 0), (problem(fill=0.9), 0),
        (replace(problem(), measured_on="another"), 0), (problem(objectives=("speed", "size")), 0),
    ):  # fmt: skip
        before = len(read_store(path))
        search(asked, 3, seed=seed, path=path)
        assert len(read_store(path)) == before + 3
    assert search(problem(), TRIALS, path=path) == whole


def test_what_a_study_remembers(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"ratio": 1.5}

    for _ in range(2):
        with study(tmp_path / "study") as store:
            assert remember(store, {"of": "a"}, make) == {"ratio": 1.5}
            assert remember(store, {"of": "a"}, make) == {"ratio": 1.5}
    assert made == [1]
    with study(tmp_path / "study") as store:
        remember(store, {"of": "b"}, make)
    assert made == [1] * 2
