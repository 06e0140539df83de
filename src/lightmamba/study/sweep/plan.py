"""A plan: what a sweep multiplies, from TOML or from flags, to jobs."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.plain import options
from lightmamba.quantization import Calibration
from lightmamba.study.sweep.job import FLOAT, Job, Learning, Machine, Task, Text
from lightmamba.study.sweep.sources import Entry, Sources

__all__ = ["Plan", "read_plan"]

EXAMPLE = 'models = ["demo"], recipes = ["float", "w4a4"], texts = ["shipped"]'
ENTRIES: dict[str, dict[str, type]] = {  # of an entry that is a table, besides place and name
    "models": {"revision": str, "tokenizer": str},
    "recipes": {},
    "texts": {"tokens": int, "window": int},
    "tasks": {"rows": int, "metric": str},
    "targets": {},
}
PLAIN: dict[str, type] = {
    "seed": int, "window": int, "tokens": int, "rows": int, "against": bool, "allow_overlap": bool,
    "calibration": dict,
}  # fmt: skip
CALIBRATION: dict[str, type] = {"text": str, "sequences": int, "seqlen": int}
LEAST = {"seed": 0, "window": 2, "tokens": 2, "rows": 1, "sequences": 1, "seqlen": 32}


@dataclass(frozen=True)
class Plan:
    """Models × recipes × (texts, tasks and targets).

    Parameters
    ----------
    folder : Path
        What relative places are relative to.
    calibration : mapping
        ``text``, ``sequences``, ``seqlen``, as far as they are given.
    seed : int
        Of the rotation and of calibration sampled from a model.
    window : int
        Tokens between resets of the state.
    tokens, rows : int or None
        Of each text and task, at most.
    against : bool
        Texts are compared with the float model.
    allow_overlap : bool
        Texts may have been calibrated on; the share is in the result.
    """

    models: tuple[Entry, ...]
    recipes: tuple[Entry, ...]
    texts: tuple[Entry, ...] = ()
    tasks: tuple[Entry, ...] = ()
    targets: tuple[Entry, ...] = ()
    folder: Path = Path()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    window: int = 1024
    tokens: int | None = None
    rows: int | None = None
    against: bool = False
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        tables = [("of the plan", vars(self)), ("of calibration", self.calibration)]
        tables += [(f"of {kind}", e.options) for kind in ENTRIES for e in getattr(self, kind)]
        for where, table in tables:
            for name, least in LEAST.items():
                value = table.get(name)
                if value is not None and value < least:
                    raise InputError(f"{name} {where} must be at least {least}, not {value}")
        for name in ("models", "recipes"):
            if not getattr(self, name):
                raise InputError(f"the plan has no {name}; a short one: {EXAMPLE}")
        if not (self.texts or self.tasks or self.targets):
            raise InputError(f"the plan has no texts, tasks or targets; a short one: {EXAMPLE}")

    def jobs(self) -> tuple[Job, ...]:
        """All cells, model by model and recipe by recipe; everything named is found and hashed.

        Raises
        ------
        InputError
            If something is not there, not right, or two things are called the same.
        """
        sources = Sources(self.folder)
        limits = {n: getattr(self, n) for n in ("tokens", "window", "against", "allow_overlap")}
        models = [sources.model(entry) for entry in self.models]
        recipes = [sources.recipe(entry) for entry in self.recipes]
        scored: list[Text | Task] = [sources.text(entry, **limits) for entry in self.texts]
        scored += [sources.task(entry, self.rows) for entry in self.tasks]
        machines = [sources.machine(entry) for entry in self.targets]
        measures: list[Text | Task | Machine] = [*scored, *machines]
        _distinct("models", [model.name for model in models])
        _distinct("recipes", [recipe.name if recipe else FLOAT for recipe in recipes])
        _distinct("texts, tasks or targets", [m.name for m in measures])
        if not machines and (shapes := [model.name for model in models if model.place is None]):
            raise InputError(
                f"{shapes[0]} is a shape, which has no weights to evaluate; give a "
                f"checkpoint's folder or hub id, or targets"
            )
        jobs: list[Job] = []
        learning = self._learning(sources)
        for model in models:
            evaluated = [] if model.place is None else scored
            for recipe in recipes:
                if recipe is None:
                    jobs += [Job(model, None, None, _of_float(measure)) for measure in evaluated]
                else:
                    cells = measures if model.place else machines
                    jobs += [Job(model, recipe, learning, measure) for measure in cells]
        if not jobs:
            raise InputError(
                "the plan has nothing to do: shapes have no weights to evaluate, and the float "
                "checkpoint runs on no target"
            )
        return tuple(jobs)

    def _learning(self, sources: Sources) -> Learning:
        shape = Calibration()
        given = dict(self.calibration)
        text = sources.text(Entry(given["text"])) if "text" in given else None
        return Learning(
            sequences=given.get("sequences", shape.sequences),
            seqlen=given.get("seqlen", shape.seqlen),
            seed=self.seed,
            text=text.place if text else None,
            sha256=text.sha256 if text else None,
        )


def _of_float(measure: Text | Task) -> Text | Task:
    """A measure of the float model, which is not compared with itself and has learnt nothing."""
    if isinstance(measure, Text):
        return replace(measure, against=False, allow_overlap=False)
    return measure


def read_plan(path: Path) -> Plan:
    """Read a plan's TOML; relative places in it are relative to its folder.

    Raises
    ------
    InputError
        One sentence that begins with the file's name.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a plan's TOML") from error
    except ValueError as error:  # of UTF-8 and of TOML's syntax
        raise InputError(f"{path} is not TOML: {error}; a short plan: {EXAMPLE}") from error
    try:
        known = dict.fromkeys(ENTRIES, list[str | dict[str, Any]]) | PLAIN
        given: dict[str, Any] = {"models": (), "recipes": (), **options(values, known, "")}
        for kind in ENTRIES.keys() & given.keys():
            given[kind] = tuple(_entry(kind, entry) for entry in given[kind])
        given["calibration"] = options(given.get("calibration", {}), CALIBRATION, "calibration")
        return Plan(folder=path.resolve().parent, **given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _entry(kind: str, value: str | dict[str, Any]) -> Entry:
    if isinstance(value, str):
        return Entry(value)
    found = options(value, {"place": str, "name": str, **ENTRIES[kind]}, kind)
    if "place" not in found:
        raise InputError(f'an entry of {kind} has no place; write {{ place = "…", name = "…" }}')
    return Entry(found.pop("place"), found.pop("name", None), found)


def _distinct(what: str, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"two {what} of the plan are called {twice[0]!r}; give one a name: "
            f'{{ place = "…", name = "…" }}'
        )
