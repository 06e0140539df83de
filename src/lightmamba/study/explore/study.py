"""The search itself: Optuna's TPE over the choices, kept in a file, repeatable."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import Trial

from lightmamba.common.store import Record, Store
from lightmamba.hardware.estimate.objectives import front
from lightmamba.study.explore.problem import Problem, Verdict
from lightmamba.study.explore.space import Candidate, Value

__all__ = ["Search", "Tried", "remember"]

BATCH = 8  # trials that are chosen before the first of them is judged
RANDOM = 32  # trials before the first guess; a choice, as is TPE: NSGA-II found less in as many
WORST = 1e9  # a cost that no machine has
REFUSED = 1e3  # violation of a machine that cannot be: worse than one that is too large


@dataclass(frozen=True)
class Tried:
    """A choice that was judged."""

    candidate: Candidate
    verdict: Verdict


class Search:
    """Candidates of a problem, tried a few at a time.

    The same problem, seed and number of trials give the same candidates, whether in one run or in
    several: each trial draws from a generator of its own, seeded by the seed and its place, and
    knows the results of the batches before its own.

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
        self.trials: list[dict[str, Value]] = []  # choices that have a verdict
        self._found: list[Verdict] = []
        self._tried: dict[Candidate, Tried] = {}
        self._asked: deque[Trial] = deque()
        while (record := self._record(len(self.trials))) is not None:
            self._tell(self._next(), Verdict(**record.values))

    def run(self, trials: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Try candidates until there were that many trials.

        Raises
        ------
        InputError
            If the estimate lacks what an objective needs.
        """
        while len(self.trials) < trials:
            trial = self._next()
            self._tell(trial, self.verdict(trial.params))
            if progress is not None:
                progress(len(self.trials), trials)

    def verdict(self, chosen: Mapping[str, Value]) -> Verdict:
        """Verdict on a choice; each machine is estimated once, by whatever choices it comes."""
        try:
            known = self._tried.get(self.problem.space.candidate(chosen))
        except ValueError:  # there is no such machine
            known = None
        return self.problem.judge(chosen) if known is None else known.verdict

    def _key(self, number: int) -> str:
        return f"{self._of}/{number}"

    def _record(self, number: int) -> Record | None:
        """Record of a trial in the store."""
        return None if self._store is None else self._store.get(self._key(number))

    def _next(self) -> Trial:
        """A trial without a verdict, of a new batch if all of the last one have theirs."""
        if not self._asked:
            begin = len(self.trials)
            self._asked.extend(map(self._ask, range(begin, begin + BATCH)))
        return self._asked[0]

    def _ask(self, number: int) -> Trial:
        """A trial; the base target comes first, once in each format."""
        options = self.problem.space.options
        if (record := self._record(number)) is not None:
            self.study.enqueue_trial(record.what["choices"])
        elif number < len(options["scheme"]):
            base = self.problem.space.of_base(str(options["scheme"][number]))
            self.study.enqueue_trial(base)
        draw = int(np.random.default_rng([self.seed, number]).integers(1 << 31))
        self.study.sampler = TPESampler(n_startup_trials=RANDOM, seed=draw)
        trial = self.study.ask()
        for name, values in options.items():
            trial.suggest_categorical(name, values)
        return trial

    def _tell(self, trial: Trial, verdict: Verdict) -> None:
        """Keep the verdict on the first trial that was asked."""
        self._asked.popleft()
        over = REFUSED if verdict.refused else min(verdict.share - self.problem.fill, REFUSED / 2)
        trial.set_constraint("fits", over)
        self.study.tell(trial, self._costs(verdict))
        number, choices = len(self.trials), trial.params
        self.trials.append(choices)
        self._found.append(verdict)
        if verdict.refused is None:
            candidate = self.problem.space.candidate(choices)
            self._tried.setdefault(candidate, Tried(candidate, verdict))
        if self._store is not None and self._record(number) is None:
            what = {"trial": number, "choices": choices}
            self._store.add(Record(self._key(number), asdict(verdict), what, "estimated"))

    def _costs(self, verdict: Verdict) -> list[float]:
        objectives = self.problem.objectives
        if verdict.values is None or not self.problem.feasible(verdict):
            return [WORST] * len(objectives)
        return [min(WORST, o.cost(verdict.values)) for o in objectives]

    def counts(self) -> dict[str, int]:
        """Trials; distinct configurations; those that fit; trials of what cannot be."""
        return {
            "trials": len(self.trials),
            "machines": len(self.tried),
            "fitting": len(self.feasible),
            "refused": sum(verdict.refused is not None for verdict in self._found),
        }

    @property
    def tried(self) -> list[Tried]:
        """Distinct configurations that could be, in the order in which they were tried."""
        return [*self._tried.values()]

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
    store: Store, what: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Values that the store keeps under all that they depend on, made at the first call."""
    key = _hash(what)
    if (found := store.get(key)) is None:
        found = Record(key, make(), dict(what), "measured")
        store.add(found)
    return found.values


def _hash(what: Mapping[str, Any]) -> str:
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
