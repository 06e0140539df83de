"""Multiple-choice, last-word and question tasks from local files, scored as lm-eval scores them.

One JSON object per line, in one of four forms:

``{"query": str, "choices": [str, …], "gold": int}``
    Which choice follows the query? The query and a blank precede each choice; a query that
    begins with "Question:" gets a line "Answer:" first.
``{"context_options": [str, …], "continuation": str, "gold": int}``
    After which context is the continuation likeliest? (WinoGrande)
``{"text": str}``
    Is the last word of the text what the model would write? (LAMBADA)
``{"prompt": str, "answer": str or [str, …], "pattern": str, "settings": {…}}``
    Does the model write one of the answers? With a pattern, a regular expression, its last match in
    the text is compared (its first group, if it has one), else the whole text, without blanks
    around it. The last two are optional; settings are those of
    :func:`~lightmamba.evaluate.writing.prompt_of`, and a text ends at a line's end unless
    ``until`` says otherwise or it is a turn of a conversation.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.likelihood import exp_mean_nll
from lightmamba.evaluate.model import LanguageModel, Tokenizer
from lightmamba.evaluate.reader import Reader
from lightmamba.evaluate.scoring import Score
from lightmamba.evaluate.writing import SETTINGS

__all__ = ["Estimate", "Question", "Row", "TaskResult", "evaluate_file", "read_rows"]

LINE = "\n"  # where the text after a prompt ends, unless settings say otherwise


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
        likeliest) and ``perplexity`` (per word, not per token). Questions: ``exact_match``.
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
    def kind(self) -> str:
        """Kind of the task."""
        return "last words" if len(self.pairs) == 1 else "choices"


@dataclass(frozen=True)
class Question:
    """Prompt whose continuation is compared with answers.

    Attributes
    ----------
    prompt : str
    answers : (str, …)
    pattern : str, optional
        What of the text is compared.
    settings : mapping
        Of :func:`~lightmamba.evaluate.writing.prompt_of`.
    """

    prompt: str
    answers: tuple[str, ...]
    pattern: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind = "questions"

    def is_answered(self, text: str) -> bool:
        """Whether a text is one of the answers."""
        if self.pattern is not None:
            found = list(re.finditer(self.pattern, text))
            if not found:
                return False
            text = found[-1].group(min(1, found[-1].re.groups)) or ""
        return text.strip() in {answer.strip() for answer in self.answers}


def read_rows(path: str | Path, limit: int | None = None) -> list[Row] | list[Question]:
    """Read the first ``limit`` rows of a task file; blank lines are passed over.

    Raises
    ------
    InputError
        If the file cannot be read or has no rows, if a line has none of the four forms, or
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
    rows: list[Any] = []
    for number, line in enumerate(lines, start=1):
        if limit is not None and len(rows) == limit:
            break
        if not line.strip():
            continue
        rows.append(_parse(line, f"{path}, line {number}"))
        if rows[-1].kind != rows[0].kind:
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
        As of :class:`~lightmamba.evaluate.reader.Reader`.
    path : str or Path
        See the head of this module for the forms of a row.
    limit : int, optional
        Rows to read; all by default.

    Raises
    ------
    InputError
        If the file is bad (see ``read_rows``), or a row cannot be scored.
    """
    rows: Any = read_rows(path, limit)
    name, reader = Path(path).stem, Reader(model, tokenizer, **reading)
    if rows[0].kind == "questions":
        return TaskResult(name, len(rows), _questions(rows, reader, f"the task {name}"))
    pairs = [pair for row in rows for pair in row.pairs]
    scores = reader.pairs(f"the task {name}", pairs)
    last = rows[0].kind == "last words"
    return TaskResult(
        name, len(rows), _last_word(scores) if last else _multiple_choice(rows, scores)
    )


def _parse(line: str, where: str) -> Row | Question:
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
        case {"prompt": str(), "answer": str() | [str(), *_]}:
            return _question(row, where)
        case {"prompt": _}:
            raise InputError(
                f"{where} has no answer to its prompt; a row looks like "
                f'{{"prompt": "2 + 2 =", "answer": "4"}}'
            )
        case _:
            raise InputError(
                f"{where} is not a row of a task; a row looks like "
                f'{{"query": "The sky is", "choices": ["blue", "made of tin"], "gold": 0}} or '
                f'{{"context_options": ["Ann", "Bob"], "continuation": "left.", "gold": 1}} or '
                f'{{"text": "The cat sat."}} or {{"prompt": "2 + 2 =", "answer": "4"}}'
            )
    if len(options) < 2 or not all(isinstance(each, str) and each for each in options + answers):
        raise InputError(f"{where} must have two choices or more, none of them empty")
    if type(gold) is not int or not 0 <= gold < len(answers):
        raise InputError(f"{where} has gold {gold!r}; it must be one of 0 to {len(answers) - 1}")
    return Row(tuple(pairs), tuple(answers), gold)


def _question(row: Mapping[str, Any], where: str) -> Question:
    answer, pattern, settings = row["answer"], row.get("pattern"), row.get("settings", {})
    answers = (answer,) if isinstance(answer, str) else tuple(answer)
    if not row["prompt"] or not all(isinstance(each, str) and each.strip() for each in answers):
        raise InputError(f"{where} must have a prompt and an answer, neither of them empty")
    if not isinstance(settings, dict):
        raise InputError(f'{where} has settings {settings!r}; try {{"max_gen_toks": 64}}')
    known = ("until", "max_gen_toks", "do_sample", *SETTINGS)
    if unknown := sorted(set(settings) - set(known)):
        raise InputError(f"{where} has the setting {unknown[0]!r}; there are {', '.join(known)}")
    try:
        re.compile(pattern or "")
    except (re.error, TypeError) as error:
        raise InputError(
            f"{where} has the pattern {pattern!r}, which is no regular expression: {error}"
        ) from error
    return Question(row["prompt"], answers, pattern, settings)


def _with_answer(query: str) -> str:
    if query.startswith("Question:") and not query.endswith("Answer:"):
        return f"{query}\nAnswer:"
    return query


def _questions(rows: Sequence[Question], reader: Reader, part: str) -> dict[str, Estimate]:
    asked = []
    for row in rows:
        text, settings = row.prompt, dict(row.settings)
        if reader.template is not None:
            text = reader.template([{"role": "user", "content": text}])
        else:
            settings.setdefault("until", LINE)
        asked.append((text, settings))
    texts = reader.write(part, asked)
    right = [row.is_answered(text) for row, text in zip(rows, texts, strict=True)]
    return {"exact_match": _mean(np.array(right, float))}


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
