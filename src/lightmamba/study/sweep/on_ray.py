"""Workers of a Ray cluster: a local one, or a real one by its address.

Ray decides which job runs where and when: it knows cores and memory of each, and which file a job
waits for. If a worker dies, Ray gives its job to another one.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record
from lightmamba.quantization.plan import available_memory
from lightmamba.study.sweep.job import Order
from lightmamba.study.sweep.memory import memory_of
from lightmamba.study.sweep.runner import Records, Work, attempt, record_of
from lightmamba.study.sweep.verbs import Progress

__all__ = ["fitting", "on_ray"]

DEATHS = 3  # workers that may die of one job; then it is the job's fault
ANSWER, READY = 3, 20  # seconds in which an address must answer, and Ray there be ready
POLL = 1.0  # seconds
STORE = 80 << 20  # bytes for objects; ours are small
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_oom_retries": str(DEATHS - 1),  # or Ray tries a job without end that lacks memory
}
PROBE = """
import sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="CRITICAL", log_to_driver=False)
except Exception as error:
    sys.exit(" ".join(str(error).split())[:300])
"""


def on_ray(
    orders: Sequence[Order],
    progress: Progress,
    work: Work = attempt,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Records:
    """Do jobs on workers of Ray.

    Parameters
    ----------
    orders
        The jobs. A local cluster shares the threads of an order among its workers; on a real one
        they are of each job, limited by the machine with the fewest cores.
    progress
        Not called: a worker tells nothing of a job that it is at.
    work
        What a worker does with an order.
    address
        HOST:PORT of a cluster's head, or None for a cluster of this machine's own, which ends with
        the jobs.
    workers
        Jobs at once, at most. By default as many as a cluster has room for; on this machine as
        :func:`fitting` says.

    Raises
    ------
    InputError
        If the address does not answer, or no machine offers cores.
    """
    threads = orders[0].threads
    if address is None:
        workers = min(workers or fitting(orders), len(orders))
    with _cluster(address, workers):
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        offered = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
        if not offered:
            raise InputError(f"no machine of the cluster at {address} offers cores to Ray")
        if address is None:
            assert workers is not None
            threads, cores = max(1, threads // workers), 1
        else:
            threads = cores = min(threads, *offered)
        most = max(machine.get("memory", 0) for machine in machines)
        remote: Any = ray.remote(work)
        made: dict[str, Any] = {}
        running: dict[Any, Order] = {}
        # Files first: a job that waits for its file takes no place from one that could run.
        for given in sorted(orders, key=lambda order: order.job.file is not None):
            if len(running) == workers and address is not None:
                yield _first(running)
            order, file = replace(given, threads=threads), given.job.file
            options = {
                "num_cpus": cores,
                "memory": min(memory_of(order.job, threads), most),
                "max_retries": DEATHS - 1,
                "name": "lightmamba sweep",
            }
            reads = made.get(file.key) if file else None
            made[order.job.key] = remote.options(**options).remote(order, reads)
            running[made[order.job.key]] = order
        while running:
            yield _first(running)


def fitting(orders: Sequence[Order]) -> int:
    """One worker per core, as far as the largest job fits that often into free memory."""
    largest = max(memory_of(order.job, 1) for order in orders)
    return max(1, min(orders[0].threads, available_memory() // largest))


def _first(running: dict[Any, Order]) -> Record:
    """Wait for a job, and return its record; those of a file come after the file's own."""
    done: list[Any] = []
    while not done:
        done, _ = ray.wait(list(running), num_returns=1, timeout=POLL)
    order = running.pop(done[0])
    try:
        found: Record = ray.get(done[0])
    except ray.exceptions.RayError as error:
        return record_of(order, _failure(error))
    return found


def _failure(error: Any) -> dict[str, str]:
    """Why a job has no record."""
    if not isinstance(error, ray.exceptions.RayTaskError):
        why = " ".join(str(error).split())[:300]
        return {"error": f"{DEATHS} workers died of it; the last one: {why}"}
    if isinstance(error.cause, ray.exceptions.RayError):  # of the job that it waited for
        said = _failure(error.cause)["error"]
        return {"error": f"its quantized file was not made: {said}"}
    said = f"a worker could not take the job: {error.cause!r}; it needs LightMamba too"
    return {"error": said, "trace": str(error)}


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine; a real one stays at the end."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        options |= {
            "address": "local",
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": STORE,
            "_memory": available_memory(),
        }
    else:
        _probe(address)
        options["address"] = address
    with _our_handler():
        ray.init(**options)
    try:
        yield
    finally:
        with _our_handler():
            ray.shutdown()


@contextmanager
def _our_handler() -> Iterator[None]:
    """Keep the program's handler of SIGTERM, which Ray replaces by one that aborts the program."""
    ours, terminated = signal.getsignal(signal.SIGTERM), False
    try:
        yield
    except SystemExit:  # raised by Ray's own handler while Ray starts
        terminated = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)
    if terminated:
        signal.raise_signal(signal.SIGTERM)


def _probe(address: str) -> None:
    """See whether a cluster answers: by itself ``ray.init`` waits two minutes, then ends us."""
    host, colon, port = address.rpartition(":")
    if address.startswith("ray://") or not colon or not host or not port.isdecimal():
        raise InputError(
            f"--address must be HOST:PORT of a Ray head, such as 10.0.0.1:6379, not {address!r}"
        )
    silent = InputError(
        f"no Ray cluster answers at {address}; start one with: ray start --head --port={port}, "
        f"and on every other machine: ray start --address={address}"
    )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        raise silent from error
    command = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=READY, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise silent from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InputError(
            f"the Ray cluster at {address} cannot be used from here: "
            f"{said[-1] if said else 'it gave no reason'}"
        )
