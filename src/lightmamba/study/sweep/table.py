"""Results as a table: a row per model and recipe, a column per figure; and two of them compared."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightmamba.common.markdown import to_markdown
from lightmamba.common.store import Record
from lightmamba.study.sweep.results import is_done

__all__ = [
    "Difference",
    "Figure",
    "Table",
    "compared",
    "figures",
    "line_of",
    "markdown",
    "sentence",
    "table_of",
]

Key = tuple[str, str, str]  # model, recipe, column
MEAN = "tasks, mean"


@dataclass(frozen=True)
class Figure:
    """A number with its standard error where it has one, or a word instead of it."""

    value: float | None
    error: float | None = None
    word: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return self.word
        return f"{self.value:.4g}" + ("" if self.error is None else f" ± {self.error:.2g}")


@dataclass(frozen=True)
class Table:
    """Figures by model and recipe, in the order of the rows that they come from."""

    columns: tuple[str, ...]
    rows: Mapping[tuple[str, str], Mapping[str, Figure]]

    def lines(self) -> list[list[str]]:
        """Cells as people read them; empty where nothing was asked for."""
        return [
            [model, recipe, *(str(found.get(column, "")) for column in self.columns)]
            for (model, recipe), found in self.rows.items()
        ]


@dataclass(frozen=True)
class Difference:
    """A figure of two sweeps; ``error`` takes the two as independent, which is too large for
    models that read the same text."""

    model: str
    recipe: str
    column: str
    before: float
    after: float
    error: float | None
    same_inputs: bool


def figures(record: Record) -> dict[str, Figure]:
    """The figures of a record by their columns."""
    name, kind = record.what["measure"], record.what["kind"]
    if kind == "quantize":
        return {}
    if not is_done(record):
        return {_main(record): Figure(None, word="failed")}
    result = record.values
    if kind == "target":
        if "refused" in result:
            return {_main(record): Figure(None, word="refused")}
        return {_main(record): Figure(result["tokens_per_second"])}
    if kind == "text":
        found = {_main(record): Figure(result["perplexity"], result["standard_error"])}
        if "ratio" in result:
            found[f"{name}, × float"] = Figure(result["ratio"], result["ratio_standard_error"])
            found[f"{name}, KL"] = Figure(result["kl"], result["kl_standard_error"])
        return found
    values, errors = result["metrics"], result["standard_errors"]
    found = {}
    for metric in dict.fromkeys([record.what["metric"], "perplexity"]):
        if metric in values:
            found[f"{name}, {metric}"] = Figure(values[metric], errors[metric])
    return found or {_main(record): Figure(None, word=f"no {record.what['metric']}")}


def _main(record: Record) -> str:
    """The column of a record's first figure."""
    kinds, what = {"text": "perplexity", "target": "tokens/s (estimated)"}, record.what
    return f"{what['measure']}, {kinds.get(what['kind'], what['metric'])}"


def table_of(records: Iterable[Record]) -> Table:
    """Lay records out; of several that fill one cell the last counts."""
    cells: dict[tuple[str, str], dict[str, Figure]] = {}
    columns: dict[str, None] = {}
    tasks: dict[str, None] = {}
    for record in records:
        found, what = figures(record), record.what
        if found:
            cells.setdefault((what["model"], what["recipe"]), {}).update(found)
            columns |= dict.fromkeys(found)
        if what["kind"] == "task":
            tasks[f"{what['measure']}, {what['metric']}"] = None
    if len(tasks) > 1:
        columns[MEAN] = None
        for found in cells.values():
            values = [found[task].value for task in tasks if task in found]
            known = [value for value in values if value is not None]
            if len(known) == len(tasks):
                found[MEAN] = Figure(sum(known) / len(known))
    return Table(tuple(columns), cells)


def by_measure(records: Iterable[Record]) -> dict[str, Table]:
    """A small table for each text, task and target, and one of the tasks' means."""
    records = list(records)
    parts: dict[str, list[Record]] = {}
    for record in records:
        if record.what["kind"] != "quantize":
            parts.setdefault(record.what["measure"], []).append(record)
    found = {name: _short(table_of(part), f"{name}, ") for name, part in parts.items()}
    whole = table_of(records)
    if MEAN in whole.columns:
        means = {key: {MEAN: line[MEAN]} for key, line in whole.rows.items() if MEAN in line}
        found[MEAN] = Table((MEAN,), means)
    return found


def _short(table: Table, prefix: str) -> Table:
    rows = {
        key: {column.removeprefix(prefix): figure for column, figure in line.items()}
        for key, line in table.rows.items()
    }
    return Table(tuple(column.removeprefix(prefix) for column in table.columns), rows)


def compared(before: Iterable[Record], after: Iterable[Record]) -> list[Difference]:
    """Figures that both have, with what differs."""
    old, new = _by_key(before), _by_key(after)
    found = []
    for key, (was, old_hash) in old.items():
        if key not in new:
            continue
        now, new_hash = new[key]
        if was.value is None or now.value is None:
            continue
        errors = [e for e in (was.error, now.error) if e is not None]
        found.append(
            Difference(
                *key, before=was.value, after=now.value,
                error=math.hypot(*errors) if len(errors) == 2 else None,
                same_inputs=old_hash == new_hash,
            )
        )  # fmt: skip
    return found


def _by_key(records: Iterable[Record]) -> dict[Key, tuple[Figure, str]]:
    return {
        (record.what["model"], record.what["recipe"], column): (figure, record.key)
        for record in records
        for column, figure in figures(record).items()
    }


def markdown(table: Table, failures: Sequence[Record] = ()) -> str:
    """The table as Markdown, with the sentences of what failed or was refused below it."""
    below = ["", *(f"- {sentence(record)}" for record in failures), ""] if failures else []
    return to_markdown(["model", "recipe", *table.columns], table.lines()) + "\n".join(below)


def sentence(record: Record) -> str:
    """Why a record has no figure."""
    what = record.what
    why: Any = record.values["refused" if is_done(record) else "error"]
    said = " ".join(str(why).split())
    return f"{what['model']}, {what['recipe']}, {what['measure'] or 'quantize'}: {said}"


def line_of(record: Record) -> str:
    """A finished job in one line: its figures, or why it has none."""
    if {"error", "refused"} & set(record.values):
        return sentence(record)
    what, took = record.what, f"{record.made['seconds']:.0f} s"
    said = ", ".join(f"{name} {figure}" for name, figure in figures(record).items())
    return f"{what['model']}, {what['recipe']}: {said or 'quantized'} ({took})"
