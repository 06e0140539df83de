"""A plan: what a sweep multiplies, from TOML or from flags, to jobs."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.plain import options
from lightmamba.quantization import Calibration, Recipe
from lightmamba.study.sweep.job import Job, Learning, Machine, Model, Task, Text
from lightmamba.study.sweep.sources import (
    HashBook,
    find_machine,
    find_model,
    find_recipe,
    find_task,
    find_text,
)

__all__ = ["Entry", "Plan", "read_plan"]

EXAMPLE = 'models = ["demo"], recipes = ["float", "w4a4"], texts = ["shipped"]'
LISTS = ("models", "recipes", "texts", "tasks", "targets")
OPTIONS: dict[str, dict[str, type]] = {  # of an entry that is a table, besides place and name
    "models": {"revision": str, "tokenizer": str},
    "recipes": {},
    "texts": {"tokens": int, "window": int},
    "tasks": {"rows": int, "metric": str},
    "targets": {},
}
PLAIN: dict[str, type] = {
    "seed": int, "window": int, "tokens": int, "rows": int, "against": bool, "allow_overlap": bool,
}  # fmt: skip
CALIBRATION: dict[str, type] = {"text": str, "sequences": int, "seqlen": int}
LEAST = {"seed": 0, "window": 2, "tokens": 2, "rows": 1, "sequences": 1, "seqlen": 32}


@dataclass(frozen=True)
class Entry:
    """One thing of a list, by where it is found and how it is called."""

    place: str
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


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
        for name in ("models", "recipes"):
            if not getattr(self, name):
                raise InputError(f"the plan has no {name}; a short one: {EXAMPLE}")
        if not (self.texts or self.tasks or self.targets):
            raise InputError(f"the plan has no texts, tasks or targets; a short one: {EXAMPLE}")
        for name, least in LEAST.items():
            value = getattr(self, name, None)
            value = self.calibration.get(name) if value is None else value
            if value is not None and value < least:
                raise InputError(f"{name} of the plan must be at least {least}, not {value}")

    def jobs(self, book: HashBook | None = None) -> tuple[Job, ...]:
        """All cells, model by model and recipe by recipe; everything named is found and hashed.

        Raises
        ------
        InputError
            If something is not there, not right, or two things are called the same.
        """
        book = book or HashBook()
        models = [
            find_model(e.place, self.folder, book, name=e.name, **e.options) for e in self.models
        ]
        recipes = [self._recipe(e) for e in self.recipes]
        measures: list[Text | Task] = [self._text(e) for e in self.texts]
        for e in self.tasks:
            options = {"rows": self.rows, **e.options}
            measures.append(find_task(e.place, self.folder, name=e.name, **options))
        machines = [
            replace(found, name=e.name or found.name)
            for e in self.targets
            for found in [find_machine(e.place, self.folder)]
        ]
        _distinct("models", [model.name for model in models])
        _distinct("recipes", [getattr(recipe, "name", "float") for recipe in recipes])
        _distinct("texts, tasks or targets", [m.name for m in [*measures, *machines]])
        jobs = list(self._cells(models, recipes, measures, machines))
        if not jobs:
            raise InputError(
                "the plan has nothing to do: shapes have no weights to evaluate, and the float "
                "checkpoint runs on no target"
            )
        return tuple(jobs)

    def _cells(
        self, models: Sequence[Model], recipes: Sequence[Recipe | None],
        measures: Sequence[Text | Task], machines: Sequence[Machine],
    ) -> Iterator[Job]:  # fmt: skip
        learning = self._learning()
        for model in models:
            if model.place is None and not machines:
                raise InputError(
                    f"{model.name} is a shape, which has no weights to evaluate; give a "
                    f"checkpoint's folder or hub id, or targets"
                )
            for recipe in recipes:
                made = (model, recipe, None if recipe is None else learning)
                if model.place is not None:
                    for measure in measures:
                        if recipe is None and isinstance(measure, Text):
                            measure = replace(measure, against=False, allow_overlap=False)
                        yield Job(*made, measure)
                if recipe is not None:
                    yield from (Job(*made, machine) for machine in machines)

    def _recipe(self, entry: Entry) -> Recipe | None:
        found = find_recipe(entry.place, self.folder)
        return found if found is None or entry.name is None else replace(found, name=entry.name)

    def _text(self, entry: Entry) -> Text:
        name, place, digest = find_text(entry.place, self.folder)
        options = {"tokens": self.tokens, "window": self.window, **entry.options}
        return Text(
            entry.name or name, place, digest, against=self.against,
            allow_overlap=self.allow_overlap, **options,
        )  # fmt: skip

    def _learning(self) -> Learning:
        text = self.calibration.get("text")
        _, place, digest = (None,) * 3 if text is None else find_text(text, self.folder)
        shape = Calibration()
        return Learning(
            sequences=self.calibration.get("sequences", shape.sequences),
            seqlen=self.calibration.get("seqlen", shape.seqlen),
            seed=self.seed, text=place, sha256=digest,
        )  # fmt: skip


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
        return _plan(values, path.resolve().parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plan(values: Mapping[str, Any], folder: Path) -> Plan:
    known = {**dict.fromkeys(LISTS, list[str | dict[str, Any]]), **PLAIN, "calibration": dict}
    given: dict[str, Any] = {"models": (), "recipes": (), **options(values, known, "")}
    for kind in LISTS:
        if kind in given:
            given[kind] = tuple(_entry(kind, entry) for entry in given[kind])
    if "calibration" in given:
        given["calibration"] = _options("calibration", given["calibration"], CALIBRATION)
    return Plan(folder=folder, **given)


def _entry(kind: str, value: Any) -> Entry:
    if isinstance(value, str):
        return Entry(value)
    found = _options(kind, value, {"place": str, "name": str, **OPTIONS[kind]})
    if "place" not in found:
        raise InputError(f'an entry of {kind} has no place; write {{ place = "…", name = "…" }}')
    return Entry(found.pop("place"), found.pop("name", None), found)


def _options(where: str, table: Any, known: Mapping[str, type]) -> dict[str, Any]:
    found = options(table, known, where)
    for name, value in found.items():
        if name in LEAST and value < LEAST[name]:
            raise InputError(f"{where}.{name} must be at least {LEAST[name]}, not {value}")
    return found


def _distinct(what: str, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"two {what} of the plan are called {twice[0]!r}; give one a name: "
            f'{{ place = "…", name = "…" }}'
        )
