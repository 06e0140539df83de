"""Orders to records: the work of one job, and the runner that works in this process."""

import time
import traceback
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from platform import node
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record
from lightmamba.study.sweep.job import Order
from lightmamba.study.sweep.results import is_done
from lightmamba.study.sweep.verbs import Progress, perform

__all__ = ["Records", "Runner", "Work", "attempt", "in_process", "record_of"]

# What is done with an order: also gets the record of the job that makes its file, if that is new.
Work = Callable[[Order, Record | None, Progress | None], Record]
Records = Generator[Record, None, None]
# Gets orders, each after the order for the file that it reads; gives their records as they come.
Runner = Callable[[Sequence[Order], Progress], Records]


def attempt(order: Order, file: Record | None = None, progress: Progress | None = None) -> Record:
    """Do a job; whatever goes wrong with it becomes part of its record."""
    if file is not None and not is_done(file):
        said = f"its quantized file was not made: {file.values['error']}"
        return record_of(order, {"error": said})
    start = time.perf_counter()
    try:
        values = perform(order, progress)
    except InputError as error:
        values = {"error": str(error)}
    except Exception as error:  # of this job alone: the others go on
        said = f"{type(error).__name__}: {error}"
        values = {"error": said, "trace": traceback.format_exc()}
    return record_of(order, values, time.perf_counter() - start, node())


def record_of(
    order: Order, values: dict[str, Any], seconds: float = 0.0, computer: str = ""
) -> Record:
    """The record of a job that was done or failed."""
    job = order.job
    made = {
        "seconds": round(seconds, 3),
        "computer": computer,
        "threads": order.threads,
        "code": order.code,
        "version": metadata.version("lightmamba"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    how = "estimated" if job.kind == "target" else "measured"
    return Record(job.key, values, {**job.cell, "inputs": job.inputs}, how, made)


def in_process(orders: Sequence[Order], progress: Progress, work: Work = attempt) -> Records:
    """Do one job after the other, here."""
    made: dict[str, Record] = {}
    for order in orders:
        file = order.job.file
        record = work(order, made.get(file.key) if file else None, progress)
        made[order.job.key] = record
        yield record
