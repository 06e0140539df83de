"""A plan and a folder to a table of results."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec

from lightmamba.common.errors import InputError
from lightmamba.common.files import check_folder, code_hash
from lightmamba.common.store import Record, Store
from lightmamba.study.sweep.job import Job, Machine, Order
from lightmamba.study.sweep.plan import Plan
from lightmamba.study.sweep.results import RESULTS, is_done, open_results
from lightmamba.study.sweep.runner import Runner, in_process
from lightmamba.study.sweep.verbs import Progress

__all__ = ["Finished", "pending", "run_jobs", "sweep"]

STEPS = 1000  # of the progress, per job


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
    """Do the jobs of a plan that have no result in ``folder`` yet.

    Parameters
    ----------
    plan
        The plan.
    folder
        Holds the results and the quantized files; made if it is not there.
    workers
        Jobs at once, on Ray; 0 means one after the other in this process, which is the default
        where Ray is not installed.
    address
        HOST:PORT of a Ray cluster's head.
    threads
        Cores of this machine, which its workers share; on a cluster, cores of each job.
    progress
        Called with the amount done and the total.
    tell
        Called with each record as it comes.

    Raises
    ------
    InputError
        If the plan names what is not there, another sweep writes into the folder, or Ray does not
        answer. What is wrong with one job is in its record.
    ModuleNotFoundError
        If Ray is asked for and not installed.
    """
    if workers is not None and workers < 0:
        raise InputError(f"--workers must be at least 0, not {workers}; try 2")
    if address is not None and workers == 0:
        raise InputError("--address needs workers; leave out --workers 0")
    check_folder(folder, [RESULTS], "sweep", "-o")
    jobs = plan.jobs()
    with open_results(folder) as results:
        before = [results.get(job.key) for job in jobs]
        kept = sum(record is not None and is_done(record) for record in before)
        runner = _runner(workers, address)
        done = run_jobs(jobs, results, folder, runner, threads, progress=progress, tell=tell)
        return Finished(tuple(_named(results.get(job.key), job) for job in jobs), kept, done)


def _runner(workers: int | None, address: str | None) -> Runner:
    """Ray if it is asked for or installed, this process otherwise."""
    asked = address is not None or bool(workers)
    if workers == 0 or not (asked or find_spec("ray")):
        return in_process
    from lightmamba.study.sweep.on_ray import on_ray

    return partial(on_ray, address=address, workers=workers)


def _named(record: Record | None, job: Job) -> Record:
    """The record of a job that was done, under the names of this plan."""
    assert record is not None
    return msgspec.structs.replace(record, what={**record.what, **job.cell})


def pending(jobs: Iterable[Job], results: Store, folder: Path) -> list[Job]:
    """Jobs that have no result, each after the job that makes its file, if that is to be made.

    Estimates of targets come first: they take seconds, and say which recipes no target can run.
    """
    found: dict[str, Job] = {}

    def lacks(job: Job) -> bool:
        known = results.get(job.key)
        return known is None or not is_done(known)

    for job in filter(lacks, jobs):
        file = job.file
        if file and (lacks(file) or not Order(file, folder, 1, "").file.is_file()):
            found.setdefault(file.key, file)
        found.setdefault(job.key, job)
    return sorted(found.values(), key=lambda job: not isinstance(job.measure, Machine))


def run_jobs(
    jobs: Iterable[Job],
    results: Store,
    folder: Path,
    runner: Runner,
    threads: int = 1,
    *,
    progress: Progress = lambda done, total: None,
    tell: Callable[[Record], None] = lambda record: None,
) -> int:
    """Do the jobs that have no result yet, add their records, and return how many they were.

    Progress is in :data:`STEPS` per job.
    """
    todo = pending(jobs, results, folder)
    orders = {job.key: Order(job, folder.resolve(), threads, code_hash()) for job in todo}
    done = 0

    def within(part: float, of: float) -> None:
        progress(done * STEPS + part * STEPS // max(1, of), len(todo) * STEPS)

    if not todo:
        return 0
    with closing(runner(list(orders.values()), within)) as records:
        for record in records:
            results.add(record)
            if is_done(record):
                orders[record.key].journal.unlink(missing_ok=True)
            done += 1
            tell(record)
            within(0, 1)
    return done
