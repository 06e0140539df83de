"""Workers of a Ray cluster: a local one, or a real one by its address.

A worker that dies takes nothing with it but its time: the order goes to another one.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray

from lightmamba.common.errors import InputError
from lightmamba.study.sweep.verbs import Progress
from lightmamba.study.sweep.work import Order, Outcome, attempt

__all__ = ["OnRay"]

DEATHS = 3  # workers that may die of one order; then it is the order's fault
ANSWER = 20  # seconds in which a cluster must answer
POLL = 1.0  # seconds
STORE = 80 << 20  # bytes for objects; ours are small
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
PROBE = """
import sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="CRITICAL", log_to_driver=False)
except Exception as error:
    sys.exit(" ".join(str(error).split())[:300])
"""


class OnRay:
    """Orders on workers of Ray.

    Parameters
    ----------
    address : str or None
        HOST:PORT of a cluster's head, or None for a cluster of this machine's own, which ends with
        the runner.
    workers : int or None
        Orders at once. On a cluster, by default as many as it has room for.
    threads : int
        Of each job; a cluster's smallest machine limits it.
    do : callable
        What a worker does with an order.

    Raises
    ------
    InputError
        If the address does not answer, or there is no room for a job.
    """

    def __init__(
        self, address: str | None, workers: int | None, threads: int,
        do: Callable[[Order], Outcome] = attempt,
    ) -> None:  # fmt: skip
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        own = address is None
        options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address is None:
            self.places = workers or 1
            options |= {"address": "local", "num_cpus": self.places, "include_dashboard": False,
                        "object_store_memory": STORE}  # fmt: skip
        else:
            _probe(address)
            options["address"] = address
        with _our_handler():
            ray.init(**options)
        self.threads = threads
        if not own:
            cores = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
            self.threads = min([threads, *(n for n in cores if n)])
            room = sum(n // self.threads for n in cores)
            if not room:
                self.close()
                raise InputError(f"no machine of the cluster at {address} offers cores to Ray")
            self.places = min(workers or room, room)
        cores_each = 1 if own else self.threads
        self._remote = ray.remote(do).options(
            max_retries=0, num_cpus=cores_each, name="lightmamba sweep"
        )
        self._running: dict[Any, tuple[Order, int]] = {}

    def start(self, order: Order) -> None:
        """Begin an order."""
        self._begin(order, 1)

    def _begin(self, order: Order, attempt: int) -> None:
        self._running[self._remote.remote(order)] = order, attempt

    def wait(self, progress: Progress) -> Outcome | None:
        """Wait about a second for an order that is finished; restart those whose worker died."""
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL)
        if not done:
            return None
        order, attempts = self._running.pop(done[0])
        try:
            found: Outcome = ray.get(done[0])
        except ray.exceptions.RayTaskError as error:  # it did not come as far as the job
            said = f"a worker could not take the job: {error.cause!r}; it needs LightMamba too"
            return Outcome(order.job.key, None, said, str(error), attempts=attempts)
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[:300]
            if attempts < DEATHS:
                self._begin(order, attempts + 1)
                return None
            said = f"{attempts} workers died of it; the last one: {why}"
            return Outcome(order.job.key, None, said, attempts=attempts)
        return replace(found, attempts=attempts)

    def close(self) -> None:
        """End the workers; a real cluster stays."""
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
    start = time.monotonic()
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER / 2).close()
    except (OSError, OverflowError) as error:
        raise silent from error
    left = max(1.0, ANSWER - (time.monotonic() - start))
    command = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=left, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise silent from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InputError(
            f"the Ray cluster at {address} cannot be used from here: "
            f"{said[-1] if said else 'it gave no reason'}"
        )
