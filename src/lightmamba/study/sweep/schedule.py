"""A sweep: what is left to do of some jobs, in an order in which files are there when needed."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lightmamba.common.files import code_hash
from lightmamba.common.store import Record
from lightmamba.study.sweep.job import Job, Machine, Task
from lightmamba.study.sweep.results import Results, is_done
from lightmamba.study.sweep.runner import Runner
from lightmamba.study.sweep.verbs import Progress
from lightmamba.study.sweep.work import FILES, Order, Outcome

__all__ = ["STEPS", "cell", "pending", "run_jobs"]

STEPS = 1000  # of the progress, per job


def cell(job: Job) -> dict[str, Any]:
    """Names of a job in the tables, and the metric that they show."""
    return {
        "kind": job.kind,
        "model": job.model.name,
        "recipe": job.recipe_name,
        "measure": None if job.measure is None else job.measure.name,
        "metric": job.measure.metric if isinstance(job.measure, Task) else None,
    }


def pending(jobs: Iterable[Job], results: Results, folder: Path) -> list[Job]:
    """Jobs that have no result, each behind the job that makes its file, if that is to be made.

    Estimates of targets come first: they take seconds, and say which recipes no target can run.
    """
    found: dict[str, Job] = {}

    def lacks(key: str) -> bool:
        known = results.get(key)
        return known is None or not is_done(known)

    for job in jobs:
        if not lacks(job.key):
            continue
        file = job.file
        if file is not None:
            there = (folder / FILES / f"{file.key}.safetensors").is_file()
            if lacks(file.key) or not there:
                found.setdefault(file.key, file)
        found.setdefault(job.key, job)
    return sorted(found.values(), key=lambda job: not isinstance(job.measure, Machine))


def run_jobs(
    jobs: Iterable[Job],
    results: Results,
    folder: Path,
    runner: Runner,
    *,
    progress: Progress = lambda done, total: None,
    tell: Callable[[Record], None] = lambda record: None,
) -> int:
    """Do what has no result yet, and add a record for each job to ``results``.

    Parameters
    ----------
    jobs, results, folder
        Cells of a plan, what is known of them, and where.
    runner
        Who does them.
    progress
        Called with the amount done and the total, in :data:`STEPS` per job.
    tell
        Called with each record as it comes.

    Returns
    -------
    int
        Jobs that were done or failed.
    """
    todo = pending(jobs, results, folder)
    made_here = {job.key for job in todo if job.measure is None}
    behind: dict[str, list[Job]] = {key: [] for key in made_here}
    ready: deque[Job] = deque()
    for job in todo:
        file = job.file
        if file is not None and file.key in made_here:
            behind[file.key].append(job)
        else:
            ready.append(job)
    running: dict[str, Job] = {}
    done = 0

    def order(job: Job) -> Order:
        return Order(job, str(folder.resolve()), runner.threads, code_hash())

    def finish(job: Job, outcome: Outcome) -> None:
        nonlocal done
        record = _record(job, outcome, runner.threads)
        results.add(record)
        if outcome.error is None:
            order(job).journal.unlink(missing_ok=True)
        done += 1
        tell(record)
        progress(done * STEPS, len(todo) * STEPS)

    def within(part: int, of: int) -> None:
        progress(done * STEPS + part * STEPS // max(1, of), len(todo) * STEPS)

    while ready or running:
        while ready and len(running) < runner.places:
            job = ready.popleft()
            running[job.key] = job
            runner.start(order(job))
        outcome = runner.wait(within)
        if outcome is None:
            continue
        job = running.pop(outcome.key)
        finish(job, outcome)
        waiting = behind.pop(job.key, [])
        if outcome.error is None:
            ready.extendleft(reversed(waiting))
        else:
            for other in waiting:
                said = f"its quantized file was not made: {outcome.error}"
                finish(other, Outcome(other.key, None, said, attempts=0))
    return done


def _record(job: Job, outcome: Outcome, threads: int) -> Record:
    values = dict(outcome.result or {})
    if outcome.error is not None:
        values = {"error": outcome.error}
        if outcome.trace is not None:
            values["trace"] = outcome.trace
    made = {
        "seconds": round(outcome.seconds, 3),
        "attempts": outcome.attempts,
        "computer": outcome.host,
        "threads": threads,
        "code": code_hash(),
        "version": metadata.version("lightmamba"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    how = "estimated" if job.kind == "target" else "measured"
    return Record(job.key, values, {**cell(job), "inputs": job.inputs}, how, made)
