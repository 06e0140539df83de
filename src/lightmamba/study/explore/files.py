"""Results of a search: a target per point of the front, and the whole front as a record."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from lightmamba.arch.target import CHOICES
from lightmamba.common.store import Record, Store
from lightmamba.study.explore.problem import Problem
from lightmamba.study.explore.study import Search, Tried

__all__ = ["FRONT", "PICTURE", "STUDY", "TARGETS", "best", "describe", "to_toml", "write"]

FRONT, PICTURE, STUDY = "front.jsonl", "front.png", "study.jsonl"
TARGETS = "targets"
NAME = re.compile(r"p\d+\.toml")  # of a target of the front


def describe(one: Tried, name: str) -> dict[str, Any]:
    """Plain values of one machine."""
    machine = one.candidate.machine
    return {
        "name": name,
        "scheme": one.candidate.scheme,
        "clock_mhz": one.candidate.clock_mhz,
        **one.verdict.known,
        "cycles_per_token": one.verdict.cycles,
        "fullest": one.verdict.fullest,
        "bound": one.verdict.bound,
        "machine": {choice: getattr(machine, choice) for choice in CHOICES},
    }


def names(search: Search) -> list[str]:
    """A name for each point of the front: p1 is the fastest."""
    digits = len(str(len(search.front)))
    return [f"p{n + 1:0{digits}}" for n in range(len(search.front))]


def best(search: Search) -> dict[str, str]:
    """The point that is best in each objective, the others deciding between equals."""
    objectives, points = search.problem.objectives, search.front
    found = {}
    for objective in objectives:
        order = [objective, *(o for o in objectives if o is not objective)]
        costs = [tuple(o.cost(one.verdict.known) for o in order) for one in points]
        found[objective.key] = names(search)[costs.index(min(costs))]
    return found


def write(search: Search, out: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``front.jsonl`` and ``targets/NAME.toml``; an earlier front there is replaced.

    Parameters
    ----------
    search, out
        What was found, and the folder for it.
    more
        What else the record is to hold.

    Returns
    -------
    dict
        The values of the record in ``front.jsonl``.
    """
    problem, points = search.problem, search.front
    named = {
        name: (one, f"{TARGETS}/{name}.toml")
        for name, one in zip(names(search), points, strict=True)
    }
    entries = [describe(one, name) | {"target": file} for name, (one, file) in named.items()]
    content = {
        "model": problem.name,
        "base_target": problem.space.base.name,
        "context": problem.context,
        "objectives": [
            {"name": o.key, "label": o.label, "better": "more" if o.more else "less"}
            for o in problem.objectives
        ],
        "points": entries,
        "best": best(search),
        "tried": [_figures(one) for one in search.feasible],
        **more,
    }
    what = {"kind": "front", "model": problem.name, "target": problem.space.base.name}
    (out / TARGETS).mkdir(parents=True, exist_ok=True)
    with Store(out / FRONT, "--out", restart=True) as store:
        store.rewrite([])  # an earlier front names targets that are replaced now
        for old in (out / TARGETS).iterdir():
            if NAME.fullmatch(old.name):
                old.unlink()
        for name, (one, file) in named.items():
            (out / file).write_text(_target(problem, one, name), encoding="utf-8")
        store.rewrite([Record("front", content, what, "estimated")])
        (record,) = store
    return record.values


def _figures(one: Tried) -> dict[str, Any]:
    """A machine that fits, for pictures of all that were tried."""
    return {"scheme": one.candidate.scheme, **one.verdict.known}


def _target(problem: Problem, one: Tried, name: str) -> str:
    base, scheme = problem.space.base, one.candidate.scheme
    target = problem.space.target(one.candidate, f"{base.name}-{name}")
    about = f"explored from {base.name} for {problem.name}, {scheme}"
    values = target.to_dict() | {"about": about}
    figures = ", ".join(f"{o.label} {abs(o.cost(one.verdict.known)):g}" for o in problem.objectives)
    return (
        f"# Found by lightmamba explore from target {base.name}, for {problem.name} in {scheme}.\n"
        f"# Estimated: {figures}.\n{to_toml(values)}"
    )


def to_toml(values: Mapping[str, Any]) -> str:
    """Plain values of a target as TOML that :meth:`Target.parse` reads back."""
    return tomli_w.dumps(_present(values))


def _present(value: Any) -> Any:
    """Value without entries that are None, which TOML does not have."""
    if isinstance(value, Mapping):
        return {name: _present(each) for name, each in value.items() if each is not None}
    return [_present(each) for each in value] if isinstance(value, list | tuple) else value
