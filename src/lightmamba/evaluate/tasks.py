"""Multiple-choice and last-word tasks from local files, scored as lm-eval scores them.

One JSON object per line, in one of three forms:

``{"query": str, "choices": [str, …], "gold": int}``
    Which choice follows the query? The query and a blank precede each choice; a query that
    begins with "Question:" gets a line "Answer:" first.
``{"context_options": [str, …], "continuation": str, "gold": int}``
    After which context is the continuation likeliest? (WinoGrande)
``{"text": str}``
    Is the last word of the text what the model would write? (LAMBADA)
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.likelihood import exp_mean_nll
from lightmamba.evaluate.model import LanguageModel, Tokenizer
from lightmamba.evaluate.scoring import Reader, Score

__all__ = ["Estimate", "Row", "TaskResult", "evaluate_file", "read_rows"]


@dataclass(frozen=True)
class Estimate:
    """A mean over rows and its standard error; None where it is not known, as for one row."""

    value: float
    standard_error: float | None


@dataclass(frozen=True)
class TaskResult:
    """Results of a model in one task.

    Attributes
    ----------
    name : str
    rows : int
        Rows evaluated.
    metrics : mapping from metric to Estimate
        Multiple choice: ``acc``, ``acc_norm`` (log-likelihood per character) and ``acc_bytes``
        (per byte), by the names of lm-eval. Last word: ``acc`` (every token of the word is the
        likeliest) and ``perplexity`` (per word, not per token).
    """

    name: str
    rows: int
    metrics: Mapping[str, Estimate]

    def plain(self) -> dict[str, Any]:
        """Name, rows, and the metrics and their errors by name."""
        return {
            "name": self.name,
            "rows": self.rows,
            "metrics": {name: e.value for name, e in self.metrics.items()},
            "standard_errors": {name: e.standard_error for name, e in self.metrics.items()},
        }


@dataclass(frozen=True)
class Row:
    """One question: pairs of context and continuation to compare, and which is right.

    Attributes
    ----------
    pairs : ((context, continuation), …)
        One pair alone is a last word.
    answers : (str, …)
        The continuations as they are measured for ``acc_norm``, without the blank before them.
    gold : int
        The right pair.
    """

    pairs: tuple[tuple[str, str], ...]
    answers: tuple[str, ...]
    gold: int

    @property
    def is_last_word(self) -> bool:
        return len(self.pairs) == 1


def read_rows(path: str | Path, limit: int | None = None) -> list[Row]:
    """Read the first ``limit`` rows of a task file; blank lines are passed over.

    Raises
    ------
    InputError
        If the file cannot be read or has no rows, if a line has none of the three forms, or
        another form than the first; names the line.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be at least 1 row, not {limit}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text; a task file has one JSON object per line"
        ) from error
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if limit is not None and len(rows) == limit:
            break
        if not line.strip():
            continue
        rows.append(_parse(line, f"{path}, line {number}"))
        if rows[-1].is_last_word != rows[0].is_last_word:
            raise InputError(f"{path}, line {number} is of another kind than the rows before it")
    if not rows:
        raise InputError(f'{path} has no rows; a row looks like {{"text": "The cat sat."}}')
    return rows


def evaluate_file(
    model: LanguageModel,
    tokenizer: Tokenizer,
    path: str | Path,
    *,
    limit: int | None = None,
    **reading: Any,
) -> TaskResult:
    """Evaluate a model on a task file; the task is named after the file.

    Parameters
    ----------
    model, tokenizer, **reading
        As of :class:`~lightmamba.evaluate.scoring.Reader`.
    path : str or Path
        See the head of this module for the forms of a row.
    limit : int, optional
        Rows to read; all by default.

    Raises
    ------
    InputError
        If the file is bad (see ``read_rows``), or a row cannot be scored.
    """
    rows, name = read_rows(path, limit), Path(path).stem
    pairs = [pair for row in rows for pair in row.pairs]
    scores = Reader(model, tokenizer, **reading).pairs(f"the task {name}", pairs)
    metrics = _last_word(scores) if rows[0].is_last_word else _multiple_choice(rows, scores)
    return TaskResult(name, len(rows), metrics)


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error.msg}") from error
    match row:
        case {"query": str(query), "choices": [str(), *_] as choices, "gold": gold}:
            context = _with_answer(query.rstrip())
            pairs = [(context, f" {choice}") for choice in choices]
            options = answers = choices
        case {"context_options": [str(), *_] as contexts, "continuation": str(end), "gold": gold}:
            pairs = [(context, f" {end.strip()}") for context in contexts]
            options, answers = contexts, [end.strip()] * len(contexts)
        case {"text": str(text)}:
            context, blank, word = text.rstrip().rpartition(" ")
            if not context.strip():
                raise InputError(f"{where} has no last word after a context: {text!r}")
            return Row(((context, blank + word),), (word,), gold=0)
        case _:
            raise InputError(
                f"{where} is not a row of a task; a row looks like "
                f'{{"query": "The sky is", "choices": ["blue", "made of tin"], "gold": 0}} or '
                f'{{"context_options": ["Ann", "Bob"], "continuation": "left.", "gold": 1}} or '
                f'{{"text": "The cat sat."}}'
            )
    if len(options) < 2 or not all(isinstance(each, str) and each for each in options + answers):
        raise InputError(f"{where} must have two choices or more, none of them empty")
    if type(gold) is not int or not 0 <= gold < len(answers):
        raise InputError(f"{where} has gold {gold!r}; it must be one of 0 to {len(answers) - 1}")
    return Row(tuple(pairs), tuple(answers), gold)


def _with_answer(query: str) -> str:
    if query.startswith("Question:") and not query.endswith("Answer:"):
        return f"{query}\nAnswer:"
    return query


def _multiple_choice(rows: Sequence[Row], scores: Sequence[Score]) -> dict[str, Estimate]:
    hits: dict[str, list[bool]] = {"acc": [], "acc_norm": [], "acc_bytes": []}
    remaining = iter(scores)
    for row in rows:
        log_likelihoods = np.array([next(remaining).log_likelihood for _ in row.pairs])
        lengths = {
            "acc": 1,
            "acc_norm": np.array([len(answer) for answer in row.answers]),
            "acc_bytes": np.array([len(answer.encode()) for answer in row.answers]),
        }
        for metric, length in lengths.items():
            hits[metric].append(int(np.argmax(log_likelihoods / length)) == row.gold)
    return {metric: _mean(np.array(values, float)) for metric, values in hits.items()}


def _last_word(scores: Sequence[Score]) -> dict[str, Estimate]:
    nll = _mean(np.array([-each.log_likelihood for each in scores]))
    value = exp_mean_nll(nll.value)
    error = None if nll.standard_error is None else value * nll.standard_error
    return {
        "acc": _mean(np.array([each.is_greedy for each in scores], float)),
        "perplexity": Estimate(value, error),
    }


def _mean(values: NDArray[np.float64]) -> Estimate:
    """Mean of independent rows and its standard error."""
    if len(values) < 2:
        return Estimate(float(values.mean()), None)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
