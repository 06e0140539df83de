"""lm-eval's tasks on a model of ours; the extra ``evaluation`` brings lm-eval."""

import contextlib
import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError, installing
from lightmamba.evaluate.model import LanguageModel, Tokenizer
from lightmamba.evaluate.tasks import Estimate, TaskResult

__all__ = ["TASK_FILE", "check_task", "run_tasks"]

TASK_FILE = {".yaml", ".yml"}
BOOTSTRAP_ITERATIONS = 1000  # for the standard errors that have no formula


def run_tasks(
    model: LanguageModel,
    tokenizer: Tokenizer,
    names: Sequence[str],
    *,
    limit: int | None = None,
    include_path: str | Path | None = None,
    **reading: Any,
) -> tuple[TaskResult, ...]:
    """Run tasks of lm-eval, by name or from local YAML files.

    Parameters
    ----------
    model, tokenizer, **reading
        As of :class:`~lightmamba.evaluate.reader.Reader`.
    names : sequence of str
        Tasks, groups, tags, patterns such as "arc_*", or paths of YAML files.
    limit : int, optional
        Rows per task; all by default.
    include_path : str or Path, optional
        A folder of more task YAML files, whose tasks are then known by name.

    Returns
    -------
    tuple of TaskResult
        One per task and per group that has metrics. A metric that a filter was applied to is called
        "metric,filter".

    Raises
    ------
    InputError
        If lm-eval is missing, a task is not known, or its data cannot be loaded.
    """
    if find_spec("lm_eval") is None:
        raise InputError(
            "lm-eval is not installed, which runs tasks by name; "
            f"install it with: {installing('evaluation')}"
        )
    if include_path is not None and not Path(include_path).is_dir():
        raise InputError(f"{include_path} is not a folder of task YAML files")
    for name in names:
        if Path(name).suffix in TASK_FILE and not Path(name).is_file():
            raise InputError(f"the task file {name} does not exist")
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be at least 1 row, not {limit}")

    with contextlib.redirect_stdout(sys.stderr):  # lm-eval prints, and stdout is for the results
        from lm_eval import simple_evaluate

        from lightmamba.evaluate.lm_adapter import HarnessModel

        manager = _task_manager(names, include_path)
        chosen = [name for given in names for name in _resolve(given, manager)]
        title = f"lm-eval {' '.join(names)}"
        adapter = HarnessModel(model, tokenizer, name=title, **reading)
        try:
            output = simple_evaluate(
                model=adapter,
                tasks=chosen,
                limit=limit,
                task_manager=manager,
                log_samples=False,
                bootstrap_iters=BOOTSTRAP_ITERATIONS,
                apply_chat_template=adapter.reader.template is not None,
                fewshot_as_multiturn=adapter.reader.template is not None,
            )
        except OSError as error:
            reason = str(error).split("\n")[0]
            raise InputError(
                f"the data of {', '.join(chosen)} cannot be loaded: {reason}"
            ) from error
    return tuple(
        TaskResult(name, _rows(name, output), metrics)
        for name, values in output["results"].items()
        if (metrics := _metrics(values))
    )


def check_task(name: str) -> None:
    """Raise InputError unless lm-eval has exactly one task of this name."""
    with contextlib.redirect_stdout(sys.stderr):
        manager = _all_tasks()
    if name in manager.all_subtasks:
        return
    some: list[Any] = _resolve(name, manager)
    if some == [name]:  # a tag or a group
        of = manager.task_index[name]
        some = [*of.tags, *(of.cfg or {}).get("task", [])]
    some = sorted(each for each in some if isinstance(each, str))[:3] or ["arc_easy"]
    raise InputError(f"{name} means several tasks; name each, such as {', '.join(some)}")


def _task_manager(names: Sequence[str], include_path: str | Path | None) -> Any:
    """Index the task files: lm-eval's own thousands take seconds, so only where they are needed."""
    if include_path is None:
        return _all_tasks()
    from lm_eval.tasks import TaskManager

    folder = str(include_path)
    local = TaskManager(include_path=folder, include_defaults=False)
    return local if set(names) <= set(local.all_subtasks) else TaskManager(include_path=folder)


@cache
def _all_tasks() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _resolve(name: str, manager: Any) -> list[str]:
    if Path(name).suffix in TASK_FILE:
        return [name]
    matches: list[str] = manager.match_tasks([name])
    if not matches:
        close = difflib.get_close_matches(name, manager.all_tasks, n=3) or ["arc_easy"]
        raise InputError(f"no task is called {name!r}; try {', '.join(close)}, or a YAML file")
    return matches


def _metrics(values: Mapping[str, Any]) -> dict[str, Estimate]:
    """Pick "metric,filter" and "metric_stderr,filter" out of a task's results."""
    metrics = {}
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        error = values.get(f"{metric}_stderr,{kind}")
        if not isinstance(error, float) or math.isnan(error):  # "N/A", or of a single row
            error = None
        metrics[metric if kind == "none" else key] = Estimate(float(value), error)
    return metrics


def _rows(name: str, output: Mapping[str, Any]) -> int:
    """Rows evaluated of a task, or of all the tasks of a group."""
    counts = output["n-samples"]
    if name in counts:
        return int(counts[name]["effective"])
    return sum(_rows(each, output) for each in output["group_subtasks"].get(name, []))
