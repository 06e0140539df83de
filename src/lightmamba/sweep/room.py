"""Which runner does a sweep, and how many workers have room in this machine's memory."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError
from lightmamba.sweep.job import Job
from lightmamba.sweep.runner import InProcess, Runner

__all__ = ["check_workers", "choose_runner", "memory_of", "workers_that_fit"]

BASE = 1 << 30  # bytes of a worker with torch, without a model
PER_PARAMETER = 12  # bytes: the float32 model, and about twice as much beside it


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
        What is to be done; of the largest model, so many workers as have room are started.
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
    from lightmamba.sweep.on_ray import OnRay

    if address is not None:
        return OnRay(address, workers, threads)
    workers = min(workers or workers_that_fit(jobs, threads), len(jobs))
    return OnRay(None, workers, max(1, threads // workers))


def memory_of(config: Mamba2Config) -> int:
    """Bytes that a worker takes that quantizes or evaluates such a model, about."""
    c = config
    layer = c.d_model * (c.d_in_proj + c.d_inner)
    heads = 1 if c.tie_embeddings else 2
    return BASE + PER_PARAMETER * (c.n_layer * layer + heads * c.vocab_size * c.d_model)


def workers_that_fit(jobs: Sequence[Job], cores: int) -> int:
    """One per core, as far as the memory that is free now has room for the largest model."""
    free = _free()
    if free is None:
        return cores
    largest = max(memory_of(job.model.config) for job in jobs)
    return max(1, min(cores, free // largest))


def _free() -> int | None:
    """Bytes of memory that can be had, where the system says."""
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    for line in info.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
