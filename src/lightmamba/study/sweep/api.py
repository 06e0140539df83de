"""A plan and a folder to a table of results."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lightmamba.common.store import Record
from lightmamba.study.sweep.job import Job
from lightmamba.study.sweep.plan import Plan
from lightmamba.study.sweep.results import Results, check_folder, is_done
from lightmamba.study.sweep.room import check_workers, choose_runner
from lightmamba.study.sweep.schedule import cell, pending, run_jobs
from lightmamba.study.sweep.sources import HashBook
from lightmamba.study.sweep.verbs import Progress

__all__ = ["Finished", "sweep"]

HASHES = "hashes.json"


@dataclass(frozen=True)
class Finished:
    """Results of a sweep.

    Parameters
    ----------
    records : tuple of Record
        One for each cell of the plan, in its order and under its names.
    kept, done : int
        Cells that had a result before; jobs that were done or failed now.
    """

    records: tuple[Record, ...]
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
    tell: Callable[[Record], None] = lambda record: None,
) -> Finished:
    """Do what of a plan has no result in ``folder`` yet.

    Parameters
    ----------
    plan
        What is multiplied.
    folder
        Holds the results and the quantized files; made if it is not there.
    workers, address, threads
        As for :func:`~lightmamba.study.sweep.room.choose_runner`.
    progress, tell
        As for :func:`~lightmamba.study.sweep.schedule.run_jobs`.

    Raises
    ------
    InputError
        If the plan names what is not there, another sweep writes into the folder, or Ray does not
        answer. What is wrong with one job is in its record.
    """
    check_workers(workers, address)
    check_folder(folder)
    book = HashBook(folder / HASHES)
    jobs = plan.jobs(book)
    with Results(folder) as results:
        book.save()
        before = [results.get(job.key) for job in jobs]
        kept = sum(record is not None and is_done(record) for record in before)
        done = 0
        if todo := pending(jobs, results, folder):
            runner = choose_runner(todo, threads, workers, address)
            try:
                done = run_jobs(todo, results, folder, runner, progress=progress, tell=tell)
            finally:
                runner.close()
        return Finished(tuple(_named(results.get(job.key), job) for job in jobs), kept, done)


def _named(record: Record | None, job: Job) -> Record:
    """The record of a job that was done, under the names of this plan."""
    assert record is not None
    return msgspec.structs.replace(record, what={**record.what, **cell(job)})
