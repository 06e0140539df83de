"""A plan and a folder to a table of results."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightmamba.sweep.plan import Plan
from lightmamba.sweep.results import Results, Row, check_folder, is_done, latest
from lightmamba.sweep.room import check_workers, choose_runner
from lightmamba.sweep.schedule import cell, pending, run_jobs
from lightmamba.sweep.sources import HashBook
from lightmamba.sweep.verbs import Progress

__all__ = ["Finished", "sweep"]

HASHES = "hashes.json"


@dataclass(frozen=True)
class Finished:
    """What a sweep left.

    Parameters
    ----------
    rows : tuple of Row
        One for each cell of the plan, in its order and under its names.
    kept, done : int
        Cells that had a result before; jobs that were done or failed now.
    """

    rows: tuple[Row, ...]
    kept: int
    done: int


def sweep(
    plan: Plan,
    folder: Path,
    *,
    workers: int | None = None,
    address: str | None = None,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
    tell: Callable[[Row], None] = lambda row: None,
) -> Finished:
    """Do what of a plan has no result in ``folder`` yet.

    Parameters
    ----------
    plan
        What is multiplied.
    folder
        Holds the results and the quantized files; made if it is not there.
    workers, address, threads
        As for :func:`~lightmamba.sweep.room.choose_runner`.
    progress, tell
        As for :func:`~lightmamba.sweep.schedule.run_jobs`.

    Raises
    ------
    InputError
        If the plan names what is not there, another sweep writes into the folder, or Ray does not
        answer. What is wrong with one job stands in its row.
    """
    check_workers(workers, address)
    check_folder(folder)
    book = HashBook(folder / HASHES)
    jobs = plan.jobs(book)
    with Results(folder) as results:
        book.save()
        before = latest(results.rows)
        kept = sum(job.key in before and is_done(before[job.key]) for job in jobs)
        done = 0
        if todo := pending(jobs, results, folder):
            runner = choose_runner(todo, threads, workers, address)
            try:
                done = run_jobs(todo, results, folder, runner, progress=progress, tell=tell)
            finally:
                runner.close()
        known = latest(results.rows)
    return Finished(tuple({**known[job.key], **cell(job)} for job in jobs), kept, done)
