"""Jobs that cost nothing, and workers that can be killed."""

import os
import signal
import time
from pathlib import Path

from lightmamba.arch.target import Target
from lightmamba.model.config import SHAPES
from lightmamba.quantization import Recipe
from lightmamba.study.sweep import Entry, Plan
from lightmamba.study.sweep.job import Job, Learning, Machine, Model, Text
from lightmamba.study.sweep.verbs import Progress
from lightmamba.study.sweep.work import Order, Outcome, attempt

__all__ = [
    "LEARNING", "MODEL", "attempt_noted", "broken", "cell_of", "die", "invented", "plan_of",
    "unfit",
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


def invented(order: Order, progress: Progress | None = None) -> Outcome:
    """A result that says which job it is of; a file is made as a real job makes it."""
    if progress is not None:
        progress(1, 2)
    if order.job.measure is None:
        order.file.parent.mkdir(exist_ok=True)
        order.file.write_text("made")
    elif order.job.file is not None:
        assert order.file.read_text() == "made"
    return Outcome(order.job.key, {"perplexity": 2.0, "standard_error": 0.5, "is": order.job.title})


def broken(order: Order, progress: Progress | None = None) -> Outcome:
    """As :func:`invented`, but no file can be made by w4a4."""
    if order.job.measure is None and order.job.recipe_name == "w4a4":
        return Outcome(order.job.key, None, "no luck")
    return invented(order, progress)


def attempt_noted(order: Order) -> Outcome:
    """Really perform a job, after leaving a note of which process does it."""
    notes = Path(order.folder) / "notes"
    notes.mkdir(exist_ok=True)
    here = notes / f"{order.job.key} {os.getpid()}"
    here.with_suffix(".part").write_text(order.job.kind)
    here.with_suffix(".part").rename(here)
    time.sleep(SLEEP)
    return attempt(order)


def unfit(order: Order) -> Outcome:
    """Answer to every job of a worker that lacks the project."""
    raise ModuleNotFoundError("No module named 'lightmamba'")


def die(order: Order) -> Outcome:
    """A job that no worker survives, if it is of text ``a``."""
    if order.job.measure is not None and order.job.measure.name == "a":
        os.kill(os.getpid(), signal.SIGKILL)
    return invented(order)
