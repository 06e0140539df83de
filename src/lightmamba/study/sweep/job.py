"""A job as data: what is measured of which model under which recipe, and the hash of all of it.

A key covers contents, not places: two folders with the same files are one model. It does not cover
what decides only the last bits of a float sum (threads, CPU); a result names those instead.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Target
from lightmamba.model.config import ModelConfig
from lightmamba.quantization import Recipe

__all__ = ["FILES", "FLOAT", "Job", "Learning", "Machine", "Model", "Order", "Task", "Text"]

FLOAT = "float"  # the recipe of a checkpoint as it is
# Folders of a sweep: quantized files, and what unfinished evaluations have found.
FILES, JOURNALS = "files", "journals"


@dataclass(frozen=True)
class Model:
    """A checkpoint, or sizes without weights.

    Parameters
    ----------
    name : str
        In the tables.
    place : str or None
        Folder or hub id; None for sizes alone.
    revision : str or None
        Commit on the hub.
    tokenizer : str or None
        A tokenizer.json that takes the place of the checkpoint's own.
    hashes : ((file, sha256), …)
        Of config.json, the weights, and all else that goes into a quantized file.
    """

    name: str
    place: str | None
    config: ModelConfig
    revision: str | None = None
    tokenizer: str | None = None
    hashes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Learning:
    """Calibration of a recipe; without a text, the shipped novels or the model itself."""

    sequences: int
    seqlen: int
    seed: int = 0
    text: str | None = None
    sha256: str | None = None  # of the text


@dataclass(frozen=True)
class Text:
    """Perplexity of the first tokens of a text.

    Parameters
    ----------
    place : str or None
        A file; None for the shipped novels' part that nothing has seen.
    tokens : int or None
        How many; all by default.
    against : bool
        With the float model too: ratio, KL and agreement as well.
    """

    name: str
    place: str | None
    sha256: str
    tokens: int | None = None
    window: int = 1024
    against: bool = False
    allow_overlap: bool = False


@dataclass(frozen=True)
class Task:
    """A task of a file, or of lm-eval by its name.

    Parameters
    ----------
    version : str
        sha256 of the file, or the version of lm-eval.
    metric : str
        What the tables show of it.
    """

    name: str
    place: str | None
    version: str
    metric: str = "acc"
    rows: int | None = None


@dataclass(frozen=True)
class Machine:
    """An estimate of a target."""

    name: str
    target: Target


# Of a measure: how it is called, where it lies, what is shown of it.
UNKEYED = {"name", "place", "metric"}


@dataclass(frozen=True)
class Job:
    """One cell of a sweep, or the quantized file that cells of a row share.

    Parameters
    ----------
    recipe : Recipe or None
        None for the float checkpoint.
    learning : Learning or None
        None for the float checkpoint.
    measure : Text, Task, Machine or None
        None makes the file.
    """

    model: Model
    recipe: Recipe | None
    learning: Learning | None
    measure: Text | Task | Machine | None

    def __post_init__(self) -> None:
        if (self.recipe is None) != (self.learning is None):
            raise ValueError("a recipe and what it learns from go together")
        if self.recipe is None and not isinstance(self.measure, Text | Task):
            raise ValueError("a float checkpoint has a text or a task")

    @property
    def file(self) -> "Job | None":
        """The job that makes the file that this one reads, if it reads one."""
        if self.recipe is None or not isinstance(self.measure, Text | Task):
            return None
        return replace(self, measure=None)

    @property
    def kind(self) -> str:
        """``quantize``, ``text``, ``task`` or ``target``."""
        kinds = {Text: "text", Task: "task", Machine: "target"}
        return "quantize" if self.measure is None else kinds[type(self.measure)]

    @property
    def cell(self) -> dict[str, Any]:
        """Names of the job in the tables, and the metric that they show."""
        return {
            "kind": self.kind,
            "model": self.model.name,
            "recipe": FLOAT if self.recipe is None else self.recipe.name,
            "measure": None if self.measure is None else self.measure.name,
            "metric": self.measure.metric if isinstance(self.measure, Task) else None,
        }

    @cached_property
    def key(self) -> str:
        """Hash of all that the result depends on, 32 hexadecimal digits."""
        text = json.dumps(self.inputs, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the result depends on, in plain values."""
        if isinstance(self.measure, Machine):
            assert self.recipe is not None
            return {
                "kind": self.kind,
                "config": self.model.config.as_dict(),
                "formats": self.recipe.formats.as_dict(),
                "target": self.measure.target.to_dict(),
            }
        values: dict[str, Any] = {"kind": self.kind, "model": dict(self.model.hashes)}
        if self.recipe is not None and self.learning is not None:
            learning = asdict(self.learning)
            del learning["text"]  # its hash says it
            values |= {"recipe": self.recipe.to_toml(), "learning": learning}
        if self.measure is not None:
            kept = {k: v for k, v in asdict(self.measure).items() if k not in UNKEYED}
            if isinstance(self.measure, Task) and self.measure.place is None:
                kept["name"] = self.measure.name
            values["measure"] = kept
        return values


@dataclass(frozen=True)
class Order:
    """A job and where it is done.

    Parameters
    ----------
    folder : Path
        The sweep's, under the same path on all machines.
    threads : int
        Threads of the job.
    code : str
        :func:`~lightmamba.common.files.code_hash` of the process that gives the order.
    """

    job: Job
    folder: Path
    threads: int
    code: str

    @property
    def file(self) -> Path:
        """The quantized file that the job makes or reads."""
        key = (self.job.file or self.job).key
        return self.folder / FILES / f"{key}.safetensors"

    @property
    def journal(self) -> Path:
        """Journal of the job, if it is an evaluation; useless once the job has a result."""
        return self.folder / JOURNALS / f"{self.job.key}.jsonl"
