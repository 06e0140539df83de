"""Jobs that cost nothing, and workers that can be killed."""

import os
import signal
import time
from pathlib import Path

from lightmamba.arch.target import Target
from lightmamba.common.store import Record
from lightmamba.model.config import SHAPES
from lightmamba.quantization import Recipe
from lightmamba.study.sweep import Entry, Plan
from lightmamba.study.sweep.job import Job, Learning, Machine, Model, Order, Text
from lightmamba.study.sweep.runner import attempt, record_of
from lightmamba.study.sweep.verbs import Progress

__all__ = [
    "LEARNING", "MODEL", "attempt_noted", "broken", "cell_of", "die", "invented", "plan_of",
    "timed", "title",
]  # fmt: skip

MODEL = Model("m", "/nowhere", SHAPES["demo"], hashes=(("config.json", "00"), ("w", "11")))
LEARNING = Learning(sequences=4, seqlen=64)
SLEEP = 0.5  # seconds that a noted job waits before it begins, to be killed in


def plan_of(root: Path) -> Plan:
    """Six cells and two files, of what the world of conftest.py has in its folder."""
    return Plan(
        models=(Entry("tiny"),),
        recipes=(Entry("float"), Entry("w8a8"), Entry("rtn-w4a8")),
        texts=(Entry("text.txt"),),
        tasks=(Entry("choices.jsonl"),),
        folder=root,
        calibration={"sequences": 4, "seqlen": 64},
        window=64,
    )


def cell_of(recipe: str | None = "w4a4", text: str = "a", target: str | None = None) -> Job:
    """A cell of text ``a``, say, or of a target; recipe None for the float checkpoint."""
    made = None if recipe is None else Recipe.load(recipe)
    measure = Text(text, f"/{text}", text) if target is None else Machine(
        target, Target.load(target)
    )  # fmt: skip
    return Job(MODEL, made, None if made is None else LEARNING, measure)


def title(job: Job) -> str:
    """Name of a job: model, recipe and measure."""
    return ", ".join(job.cell[name] or job.kind for name in ("model", "recipe", "measure"))


def invented(order: Order, file: Record | None = None, progress: Progress | None = None) -> Record:
    """A result that says which job it is of; a file is made as a real job makes it."""
    if progress is not None:
        progress(1, 2)
    if order.job.measure is None:
        order.file.parent.mkdir(exist_ok=True)
        order.file.write_text("made")
    elif order.job.file is not None:
        assert order.file.read_text() == "made"
    values = {"perplexity": 2.0, "standard_error": 0.5, "is": title(order.job)}
    return record_of(order, values)


def broken(order: Order, file: Record | None = None, progress: Progress | None = None) -> Record:
    """As :func:`invented`, but no file can be made by w4a4."""
    if order.job.cell["recipe"] == "w4a4":
        return record_of(order, {"error": "no luck"}) if file is None else attempt(order, file)
    return invented(order, file, progress)


def attempt_noted(order: Order, file: Record | None = None) -> Record:
    """Really perform a job, after leaving a note of which process does it."""
    notes = order.folder / "notes"
    notes.mkdir(exist_ok=True)
    here = notes / f"{order.job.key} {os.getpid()}"
    here.with_suffix(".part").write_text(order.job.kind)
    here.with_suffix(".part").rename(here)
    time.sleep(SLEEP)
    return attempt(order, file)


def timed(order: Order, file: Record | None = None) -> Record:
    """When the job began and ended, a while later."""
    start = time.time()
    time.sleep(SLEEP)
    return record_of(order, {"times": [start, time.time()]})


def die(order: Order, file: Record | None = None) -> Record:
    """A job that no worker survives, if it is of text ``a`` or makes a file of w4a4.

    A worker that lacks the project is one that cannot take text ``u``.
    """
    names = order.job.cell
    if names["measure"] == "a" or (names["measure"], names["recipe"]) == (None, "w4a4"):
        os.kill(os.getpid(), signal.SIGKILL)
    if names["measure"] == "u":
        raise ModuleNotFoundError("No module named 'lightmamba'")
    return invented(order, file)
