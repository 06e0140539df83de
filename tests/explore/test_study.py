"""The search: repeatable, resumable, and its front is a front."""

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from lightmamba.errors import InputError
from lightmamba.estimate.objectives import dominates
from lightmamba.explore.study import Search, claim, open_study, remember
from tests.explore.standin import estimate, problem, target

TRIALS = 48  # half as many guesses as random draws


def search(asked, trials, *, seed=0, path=None):
    """Everything tried, in order."""
    with open_study(path, len(asked.objectives)) as study:
        found = Search(asked, study, seed=seed)
        found.run(trials)
        return [(t.number, t.params) for t in study.trials], found.tried, found.front


@pytest.fixture(scope="module")
def whole():
    return search(problem(), TRIALS)


def test_seed_reproduces(whole):
    assert search(problem(), TRIALS) == whole
    assert search(problem(), TRIALS, seed=1) != whole


def test_resume_continues_the_count(whole, tmp_path):
    path = tmp_path / "study"
    seen = []
    with open_study(path, 4) as study:
        Search(problem(), study).run(20, lambda *done: seen.append(done))
    assert seen == [(n, TRIALS - 28) for n in range(1, 21)]
    assert len(search(problem(), 20, path=path)[0]) == 20  # nothing left to do
    with open_study(path, 4) as study:
        again = Search(problem(), study)
        again.run(TRIALS, lambda *done: seen.append(done))
        assert again.counts()["trials"] == TRIALS
        assert [n for n, _ in seen] == list(range(1, TRIALS + 1))
        assert ([(t.number, t.params) for t in study.trials], again.tried, again.front) == whole


def test_an_interrupted_trial_is_tried_again(whole, tmp_path):
    path = tmp_path / "study"

    def stop(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with open_study(path, 4) as study, pytest.raises(KeyboardInterrupt):
        Search(problem(), study).run(TRIALS, stop)
    with open_study(path, 4) as study:
        study.ask()  # begun, and the process died
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "half')
    _, tried, front = search(problem(), TRIALS, path=path)
    assert (tried, front) == whole[1:]
    with open_study(path, 4) as study:
        ended = [t.state for t in study.trials if t.state != TrialState.COMPLETE]
        assert ended == [TrialState.FAIL]


def test_the_front_is_one(whole):
    _, tried, front = whole
    objectives = problem().objectives
    assert len(front) > 3
    costs = [[o.cost(one.verdict.known) for o in objectives] for one in front]
    assert not any(dominates(a, b) for a in costs for b in costs)
    for one in tried:
        mine = [o.cost(one.verdict.known) for o in objectives]
        if problem().feasible(one.verdict):
            assert mine in costs or any(dominates(cost, mine) for cost in costs)


def test_the_base_is_tried_first(whole):
    space = problem().space
    for (_, params), scheme in zip(whole[0], space.options["scheme"], strict=False):
        assert params == space.of_base(str(scheme))


def test_what_does_not_fit_is_a_constraint():
    """A small device: most machines are too large, none of them is on the front."""
    asked = problem(target(lut=6000))
    _, tried, front = search(asked, TRIALS)
    large = [one for one in tried if one.verdict.share > 1]
    assert large
    assert front
    assert all(one.verdict.share <= 1 for one in front)


def test_what_is_refused_is_a_constraint():
    asked = problem()
    asked = replace(asked, space=replace(asked.space, options={
        **asked.space.options, "lanes": (2, 4, 100)}))  # fmt: skip
    with open_study(None, 4) as study:
        found = Search(asked, study)
        found.run(TRIALS)
        refused = found.counts()["refused"]
        assert 0 < refused < TRIALS
        assert {one.candidate.machine.lanes for one in found.tried} == {2, 4}
        trials = study.get_trials(states=(TrialState.COMPLETE,))
        assert sum(t.constraints["fits"] > 100 for t in trials) == refused


def test_a_machine_is_estimated_once():
    asked, seen = problem(), []

    def counted(config, formats, of, order):
        seen.append((formats, of))
        return estimate(config, formats, of, order)

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
    monkeypatch.setattr("lightmamba.explore.study.RANDOM", 1000)
    assert ours > area(search(asked, 80)[2])


def test_another_search_is_refused(tmp_path):
    path = tmp_path / "study"
    search(problem(), 3, path=path)
    for asked, seed, what in (
        (problem(), 1, "seed"),
        (problem(target(lut=50_000)), 0, "base target"),
        (problem(fill=0.9), 0, "largest share"),
        (replace(problem(), measured_on="another"), 0, "accuracy"),
    ):
        with (
            open_study(path, 4) as study,
            pytest.raises(InputError, match=f"^here is of another search: its .*{what} differs; "),
        ):
            claim(study, asked, seed, "here")
    with pytest.raises(InputError, match="4 objectives, not 2; give the same --objectives"):
        search(problem(objectives=("speed", "size")), 3, path=path)


def test_files_that_are_no_study(tmp_path):
    path = tmp_path / "study"
    for text in ("hello\n", "hello", json.dumps({"a": 1}) + "\n", "\xff\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="study is no study; give the file of one"):
            search(problem(), 1, path=path)
        assert path.read_text() == text
    with pytest.raises(InputError, match=r"cannot keep the study in .*: Is a directory"):
        search(problem(), 1, path=tmp_path)
    path.unlink()
    with open_study(path, 4), pytest.raises(InputError, match="study is in use; wait, or give"):
        search(problem(), 1, path=path)


def test_what_a_study_remembers(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"ratio": 1.5}

    for _ in range(2):
        with open_study(tmp_path / "study", 2) as study:
            assert remember(study, "a", make) == {"ratio": 1.5}
            assert remember(study, "a", make) == {"ratio": 1.5}
    assert made == [1]
