"""Which runner executes a sweep, and how many workers fit into this computer's memory."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from lightmamba.common.errors import InputError
from lightmamba.quantization.plan import available_memory
from lightmamba.study.sweep.job import Job
from lightmamba.study.sweep.memory import memory_of
from lightmamba.study.sweep.runner import InProcess, Runner

__all__ = ["check_workers", "choose_runner", "workers_that_fit"]


def check_workers(workers: int | None, address: str | None) -> None:
    """Refuse a number of workers that cannot be.

    Raises
    ------
    InputError
        One sentence.
    """
    if workers is not None and workers < 0:
        raise InputError(f"--workers must be at least 0, not {workers}; try 2")
    if address is not None and workers == 0:
        raise InputError("--address needs workers; leave out --workers 0")


def choose_runner(
    jobs: Sequence[Job], threads: int, workers: int | None = None, address: str | None = None
) -> Runner:
    """Ray where it is asked for or installed, this process otherwise.

    Parameters
    ----------
    jobs
        Jobs to do; as many workers are started as have room for the largest of them.
    threads
        Cores of this machine, which its workers share; on a cluster, cores of each job.
    workers
        Jobs at once; 0 means this process.
    address
        HOST:PORT of a Ray cluster's head.

    Raises
    ------
    InputError
        If the address does not answer.
    ModuleNotFoundError
        If Ray is asked for and not installed.
    """
    check_workers(workers, address)
    asked = address is not None or bool(workers)
    if workers == 0 or not (asked or find_spec("ray")):
        return InProcess(threads)
    from lightmamba.study.sweep.on_ray import OnRay

    if address is not None:
        return OnRay(address, workers, threads)
    workers = min(workers or workers_that_fit(jobs, threads), len(jobs))
    return OnRay(None, workers, max(1, threads // workers))


def workers_that_fit(jobs: Sequence[Job], cores: int) -> int:
    """One per core, as far as the memory that is free now has room for the largest jobs at once."""
    free = available_memory()

    @cache
    def needs(threads: int) -> list[int]:
        return sorted((memory_of(job, threads) for job in jobs), reverse=True)

    for workers in range(cores, 1, -1):
        if sum(needs(cores // workers)[:workers]) <= free:
            return workers
    return 1
