"""Work of a job, by the project's own verbs; a pure function of its order."""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import node
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.files import code_hash
from lightmamba.study.sweep import verbs
from lightmamba.study.sweep.job import Job, Machine, Task
from lightmamba.study.sweep.verbs import Progress

__all__ = ["FILES", "JOURNALS", "Order", "Outcome", "attempt", "perform"]

# In the folder of a sweep: quantized files, and what evaluations under way have found.
FILES, JOURNALS = "files", "journals"


@dataclass(frozen=True)
class Order:
    """A job and where it is done.

    Parameters
    ----------
    folder : str
        Of the sweep; the same for all workers.
    threads : int
    code : str
        Of whoever ordered it, as :func:`code_hash` says.
    """

    job: Job
    folder: str
    threads: int
    code: str

    @property
    def file(self) -> Path:
        """The quantized file that the job makes or reads."""
        key = (self.job.file or self.job).key
        return Path(self.folder) / FILES / f"{key}.safetensors"

    @property
    def journal(self) -> Path:
        """Journal of the job, if it is an evaluation; of no use once it has a result."""
        return Path(self.folder) / JOURNALS / f"{self.job.key}.jsonl"


@dataclass(frozen=True)
class Outcome:
    """A result, or the sentence that says why there is none.

    Parameters
    ----------
    trace : str or None
        Of an error that is not the user's.
    attempts : int
        Workers that it took; all but the last one died.
    """

    key: str
    result: Mapping[str, Any] | None
    error: str | None = None
    trace: str | None = None
    seconds: float = 0.0
    host: str = ""
    attempts: int = 1


def attempt(order: Order, progress: Progress | None = None) -> Outcome:
    """Perform a job; whatever goes wrong with it becomes part of its outcome."""
    start = time.perf_counter()

    result, said, trace = None, None, None
    try:
        result = perform(order, progress)
    except InputError as error:
        said = str(error)
    except Exception as error:  # of this job alone: the others go on
        said, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
    seconds = time.perf_counter() - start
    return Outcome(order.job.key, result, said, trace, seconds=seconds, host=node())


def perform(order: Order, progress: Progress | None = None) -> dict[str, Any]:
    """Do what a job says, and return its numbers.

    Raises
    ------
    InputError
        If this worker has other files or another code than whoever ordered the job, or for what
        quantizing and evaluating refuse.
    """
    job, measure = order.job, order.job.measure
    if order.code != code_hash():
        raise InputError(
            f"{node()} has another LightMamba than the one that ordered the job; install the same"
        )
    if isinstance(measure, Machine):
        assert job.recipe is not None
        return verbs.run_estimate(job.model, job.recipe, measure)
    if not Path(order.folder).is_dir():
        raise InputError(
            f"{node()} does not see the folder {order.folder}; give -o a folder that all machines "
            f"share under one path"
        )
    if measure is None:
        assert job.recipe is not None
        assert job.learning is not None
        made = (job.model, job.recipe, job.learning, order.file)
        return verbs.quantize(*made, order.threads, order.code, progress)
    if job.recipe is None:
        opened = verbs.open_float(job.model, order.threads)
    else:
        opened = verbs.open_engine(order.file, order.threads)
    kept = verbs.Kept(order.journal, order.code)
    if isinstance(measure, Task):
        return verbs.run_task(measure, opened, kept, progress)
    reference = verbs.open_float(job.model, order.threads) if measure.against else None
    return verbs.read_text(measure, opened, reference, kept, progress)
