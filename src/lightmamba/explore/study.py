"""The search itself: Optuna's TPE over the choices, kept in a file, repeatable."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler

from lightmamba.estimate.objectives import front
from lightmamba.explore.problem import Problem, Verdict
from lightmamba.explore.space import Candidate, Value
from lightmamba.store import Record, Store

__all__ = ["Search", "Tried", "open_study", "remember"]

RANDOM = 32  # trials before the first guess; a choice, as is TPE: NSGA-II found less in as many
WORST = 1e9  # a cost that no machine has
REFUSED = 1e3  # violation of a machine that cannot be: worse than one that is too large


@dataclass(frozen=True)
class Tried:
    """A choice that was judged."""

    candidate: Candidate
    verdict: Verdict


@contextmanager
def open_study(path: Path | None) -> Iterator[Store | None]:
    """The records of searches in a file, which may be there already, while the block runs.

    Raises
    ------
    InputError
        If the file is something else or in use, or cannot be written.
    """
    if path is None:
        yield None
        return
    with Store(path, "--study") as store:
        yield store


class Search:
    """Candidates of a problem, tried one after the other.

    The same problem, seed and number of trials give the same candidates, whether in one run or in
    several: each trial draws from a generator of its own, seeded by the seed and its place.

    Parameters
    ----------
    problem
        What is searched.
    store
        Keeps each trial under the problem, the seed and its place; trials that it has are not
        judged again.
    seed
        Of all draws.
    """

    def __init__(self, problem: Problem, store: Store | None = None, *, seed: int = 0) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.problem, self.seed, self._store = problem, seed, store
        self.study = optuna.create_study(directions=["minimize"] * len(problem.objectives))
        self._of = _hash({**problem.signature(), "seed": seed})
        self._verdicts: dict[Candidate, Verdict] = {}
        while store is not None and (record := store.get(self._key)) is not None:
            self._step(record)

    def run(self, trials: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Try candidates until there were that many trials.

        Raises
        ------
        InputError
            If the estimate lacks what an objective needs.
        """
        while (done := len(self.study.trials)) < trials:
            self._step()
            if progress is not None:
                progress(done + 1, trials)

    @property
    def _key(self) -> str:
        """Key of the next trial."""
        return f"{self._of}/{len(self.study.trials)}"

    def _step(self, record: Record | None = None) -> None:
        """One trial, or one of before; the base target comes first, once in each format."""
        n, key, options = len(self.study.trials), self._key, self.problem.space.options
        schemes = options["scheme"]
        if record is not None:
            self.study.enqueue_trial(record.what["choices"])
        elif n < len(schemes):
            self.study.enqueue_trial(self.problem.space.of_base(str(schemes[n])))
        draw = int(np.random.default_rng([self.seed, n]).integers(1 << 31))
        self.study.sampler = TPESampler(n_startup_trials=RANDOM, seed=draw)
        trial = self.study.ask()
        for name, values in options.items():
            trial.suggest_categorical(name, values)
        verdict = self._judge(trial.params) if record is None else Verdict(**record.values)
        trial.set_user_attr("verdict", asdict(verdict))
        over = REFUSED if verdict.refused else min(verdict.share - self.problem.fill, REFUSED / 2)
        trial.set_constraint("fits", over)
        self.study.tell(trial, self._costs(verdict))
        if verdict.refused is None:
            self._verdicts.setdefault(self.problem.space.candidate(trial.params), verdict)
        if self._store is not None and record is None:
            what = {"trial": n, "choices": trial.params}
            self._store.add(Record(key, asdict(verdict), what, "estimated"))

    def _judge(self, chosen: Mapping[str, Value]) -> Verdict:
        """Each machine is estimated once, by whatever choices it comes."""
        try:
            candidate = self.problem.space.candidate(chosen)
        except ValueError as error:
            return Verdict(refused=str(error))
        known = self._verdicts.get(candidate)
        return self.problem.judge(chosen) if known is None else known

    def _costs(self, verdict: Verdict) -> list[float]:
        objectives = self.problem.objectives
        if verdict.values is None:
            return [WORST] * len(objectives)
        return [min(WORST, o.cost(verdict.values)) for o in objectives]

    def counts(self) -> dict[str, int]:
        """Trials; distinct configurations; those that fit; trials of what cannot be."""
        verdicts = [trial.user_attrs["verdict"] for trial in self.study.trials]
        return {
            "trials": len(verdicts),
            "machines": len(self.tried),
            "fitting": len(self.feasible),
            "refused": sum(verdict["refused"] is not None for verdict in verdicts),
        }

    @property
    def tried(self) -> list[Tried]:
        """Distinct configurations that could be, in the order in which they were tried."""
        return [Tried(candidate, verdict) for candidate, verdict in self._verdicts.items()]

    @property
    def feasible(self) -> list[Tried]:
        """Trials that fit the device."""
        return [one for one in self.tried if self.problem.feasible(one.verdict)]

    @property
    def front(self) -> list[Tried]:
        """Pareto-optimal trials, the fastest first."""
        fit = self.feasible
        found = front([one.verdict.known for one in fit], self.problem.objectives)
        return [fit[i] for i in found]


def remember(
    store: Store | None, what: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Values that the store keeps under all that they depend on, made at the first call."""
    key = _hash(what)
    found = None if store is None else store.get(key)
    if found is not None:
        return found.values
    made = make()
    if store is not None:
        store.add(Record(key, made, dict(what), "measured"))
    return made


def _hash(what: Mapping[str, Any]) -> str:
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
