"""Results as a table: a row per model and recipe, a column per figure; and two of them compared."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightmamba.sweep.results import Row, is_done

__all__ = [
    "Difference",
    "Figure",
    "Table",
    "compared",
    "figures",
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


def figures(row: Row) -> dict[str, Figure]:
    """The figures of a row by their columns."""
    name, kind = row["measure"], row["kind"]
    if kind == "quantize":
        return {}
    if not is_done(row):
        return {_main(row): Figure(None, word="failed")}
    result = row["result"]
    if kind == "target":
        if "refused" in result:
            return {_main(row): Figure(None, word="refused")}
        return {_main(row): Figure(result["tokens_per_second"])}
    if kind == "text":
        found = {_main(row): Figure(result["perplexity"], result["standard_error"])}
        if "ratio" in result:
            found[f"{name}, × float"] = Figure(result["ratio"], result["ratio_standard_error"])
            found[f"{name}, KL"] = Figure(result["kl"], result["kl_standard_error"])
        return found
    values, errors = result["metrics"], result["standard_errors"]
    found = {}
    for metric in dict.fromkeys([row["metric"], "perplexity"]):
        if metric in values:
            found[f"{name}, {metric}"] = Figure(values[metric], errors[metric])
    return found or {_main(row): Figure(None, word=f"no {row['metric']}")}


def _main(row: Row) -> str:
    """The column of a row's first figure."""
    kinds = {"text": "perplexity", "target": "tokens/s (estimated)"}
    return f"{row['measure']}, {kinds.get(row['kind'], row['metric'])}"


def table_of(rows: Iterable[Row]) -> Table:
    """Lay rows out; of several that fill one cell the last counts."""
    cells: dict[tuple[str, str], dict[str, Figure]] = {}
    columns: dict[str, None] = {}
    tasks: dict[str, None] = {}
    for row in rows:
        found = figures(row)
        if found:
            cells.setdefault((row["model"], row["recipe"]), {}).update(found)
            columns |= dict.fromkeys(found)
        if row["kind"] == "task":
            tasks[f"{row['measure']}, {row['metric']}"] = None
    if len(tasks) > 1:
        columns[MEAN] = None
        for found in cells.values():
            values = [found[task].value for task in tasks if task in found]
            known = [value for value in values if value is not None]
            if len(known) == len(tasks):
                found[MEAN] = Figure(sum(known) / len(known))
    return Table(tuple(columns), cells)


def by_measure(rows: Iterable[Row]) -> dict[str, Table]:
    """A small table for each text, task and target, and one of the tasks' means."""
    rows = list(rows)
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] != "quantize":
            parts.setdefault(row["measure"], []).append(row)
    found = {name: _short(table_of(part), f"{name}, ") for name, part in parts.items()}
    whole = table_of(rows)
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


def compared(before: Iterable[Row], after: Iterable[Row]) -> list[Difference]:
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


def _by_key(rows: Iterable[Row]) -> dict[Key, tuple[Figure, str]]:
    return {
        (row["model"], row["recipe"], column): (figure, row["key"])
        for row in rows
        for column, figure in figures(row).items()
    }


def markdown(table: Table, failures: Sequence[Row] = ()) -> str:
    """The table as Markdown, with the sentences of what failed or was refused below it."""
    header = ["model", "recipe", *table.columns]
    body = [header, ["---", "---", *["---:"] * len(table.columns)], *table.lines()]
    lines = ["| " + " | ".join(_cell(each) for each in row) + " |" for row in body]
    lines += ["", *(f"- {sentence(row)}" for row in failures)] if failures else []
    return "\n".join(lines) + "\n"


def sentence(row: Row) -> str:
    """Why a row has no figure."""
    what = row["measure"] or "quantize"
    why: Any = row["result"].get("refused") if is_done(row) else row["error"]
    return f"{row['model']}, {row['recipe']}, {what}: {' '.join(str(why).split())}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
