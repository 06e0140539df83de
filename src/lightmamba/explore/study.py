"""The search itself: Optuna's TPE over the choices, kept in a file, repeatable."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.trial import TrialState

from lightmamba.errors import InputError
from lightmamba.estimate.objectives import front
from lightmamba.explore.journal import Journal
from lightmamba.explore.problem import Problem, Verdict
from lightmamba.explore.space import Candidate, Value

__all__ = ["Search", "Tried", "claim", "open_study", "remember"]

NAME = "lightmamba explore"
RANDOM = 32  # trials before the first guess; a choice, as is TPE: NSGA-II found less in as many
WORST = 1e9  # a cost that no machine has
REFUSED = 1e3  # violation of a machine that cannot be: worse than one that is too large


@dataclass(frozen=True)
class Tried:
    """A choice that was judged."""

    candidate: Candidate
    verdict: Verdict


@contextmanager
def open_study(path: Path | None, objectives: int) -> Iterator[optuna.Study]:
    """A study in a file, which may be there already, or in memory, while the block runs.

    Raises
    ------
    InputError
        If the file is something else, in use, or of another number of objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = None if path is None else Journal(path)
    try:
        study = optuna.create_study(
            storage=InMemoryStorage() if journal is None else JournalStorage(journal),
            study_name=NAME, load_if_exists=True, directions=["minimize"] * objectives,
        )  # fmt: skip
        if (had := len(study.directions)) != objectives:
            raise InputError(
                f"{path} is of a search with {had} objectives, not {objectives}; "
                f"give the same --objectives, or another --study"
            )
        yield study
    finally:
        if journal is not None:
            journal.close()


def claim(study: optuna.Study, problem: Problem, seed: int, where: str) -> None:
    """Note what a study is of; ``where`` is what people call it.

    Raises
    ------
    InputError
        If it was begun for another search, with what differs.
    """
    wanted = json.loads(json.dumps({**problem.signature(), "seed": seed}))
    known = study.user_attrs.get("problem")
    if known is None:
        study.set_user_attr("problem", wanted)
    elif differs := [name for name in wanted if known.get(name) != wanted[name]]:
        raise InputError(
            f"{where} is of another search: its {differs[0]} differs; "
            f"give the same arguments as before, or another --study"
        )


class Search:
    """Candidates of a problem, tried one after the other.

    The same problem, seed and number of trials give the same candidates, whether in one run or in
    several: each trial draws from a generator of its own, seeded by the seed and its place.

    Parameters
    ----------
    problem, seed
        What the study must be of, if it was begun before.
    study
        As :func:`open_study` gives it.

    Raises
    ------
    InputError
        As :func:`claim` does.
    """

    def __init__(
        self, problem: Problem, study: optuna.Study, *, seed: int = 0, where: str = "the study"
    ) -> None:
        claim(study, problem, seed, where)
        self.problem, self.study, self.seed = problem, study, seed
        self._verdicts: dict[Candidate, Verdict] = {
            one.candidate: one.verdict for one in self.tried
        }

    def run(self, trials: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Try candidates until the study has so many.

        Raises
        ------
        InputError
            If the estimate lacks what an objective needs.
        """
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)  # interrupted
        done = self._count()
        if done == 0 and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            for scheme in self.problem.space.options["scheme"]:
                self.study.enqueue_trial(self.problem.space.of_base(str(scheme)))
        for n in range(done, trials):
            self._step(n)
            if progress is not None:
                progress(n + 1, trials)

    def _step(self, n: int) -> None:
        draw = int(np.random.default_rng([self.seed, n]).integers(1 << 31))
        self.study.sampler = TPESampler(n_startup_trials=RANDOM, seed=draw)
        trial = self.study.ask()
        options = self.problem.space.options
        for name, values in options.items():
            trial.suggest_categorical(name, values)
        verdict = self._judge(trial.params)
        trial.set_user_attr("verdict", asdict(verdict))
        fill = self.problem.fill
        over = REFUSED if verdict.refused else min(verdict.share - fill, REFUSED / 2)
        trial.set_constraint("fits", over)
        self.study.tell(trial, self._costs(verdict))

    def _judge(self, chosen: Mapping[str, Value]) -> Verdict:
        """Each machine is estimated once, by whatever choices it comes."""
        try:
            candidate = self.problem.space.candidate(chosen)
        except ValueError as error:
            return Verdict(refused=str(error))
        if candidate not in self._verdicts:
            self._verdicts[candidate] = self.problem.judge(chosen)
        return self._verdicts[candidate]

    def _costs(self, verdict: Verdict) -> list[float]:
        objectives = self.problem.objectives
        if verdict.values is None:
            return [WORST] * len(objectives)
        return [min(WORST, o.cost(verdict.values)) for o in objectives]

    def _count(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def counts(self) -> dict[str, int]:
        """Trials; distinct machines; those that fit; trials of what cannot be."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        refused = [t for t in complete if t.user_attrs["verdict"]["refused"] is not None]
        return {
            "trials": len(complete),
            "machines": len(self.tried),
            "fitting": len(self.feasible),
            "refused": len(refused),
        }

    @property
    def tried(self) -> list[Tried]:
        """Distinct machines that could be, in the order in which they were tried."""
        found: dict[Candidate, Verdict] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            verdict = Verdict(**trial.user_attrs["verdict"])
            if verdict.refused is None:
                found.setdefault(self.problem.space.candidate(trial.params), verdict)
        return [Tried(candidate, verdict) for candidate, verdict in found.items()]

    @property
    def feasible(self) -> list[Tried]:
        """Those of them that fit."""
        return [one for one in self.tried if self.problem.feasible(one.verdict)]

    @property
    def front(self) -> list[Tried]:
        """Those that no other beats, the fastest first."""
        fit = self.feasible
        found = front([one.verdict.known for one in fit], self.problem.objectives)
        return [fit[i] for i in found]


def remember(study: optuna.Study, key: str, make: Callable[[], Any]) -> Any:
    """A plain value that the study keeps, made at the first call."""
    if key not in study.user_attrs:
        study.set_user_attr(key, make())
    return study.user_attrs[key]
