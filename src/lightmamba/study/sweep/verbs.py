"""Work of a job: quantize, evaluate or estimate, as the commands of these names do it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from platform import node
from typing import Any

import torch

from lightmamba.common.errors import InputError
from lightmamba.common.files import code_hash
from lightmamba.engine import Engine
from lightmamba.evaluate import Journal, Subject, check_overlap, encode_text
from lightmamba.hardware.estimate import estimate
from lightmamba.model import inputs
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import OpenCheckpoint, open_checkpoint
from lightmamba.model.checkpoint.files import sha256
from lightmamba.model.data import heldout
from lightmamba.model.qmodel import load
from lightmamba.quantization import Calibration, FileRun
from lightmamba.study.sweep.job import Job, Machine, Model, Order, Task, Text

__all__ = ["Progress", "perform", "run_estimate"]

Progress = Callable[[float, float], None]
LACKING = (
    "the checkpoint has no tokenizer, so text cannot be read; "
    'give it one in the plan: { place = "…", tokenizer = "tokenizer.json" }'
)


def perform(order: Order, progress: Progress | None = None) -> dict[str, Any]:
    """Do what a job says, and return its numbers.

    Raises
    ------
    InputError
        If this process has other files or another code than the one that ordered the job, or for
        what quantizing and evaluating refuse.
    """
    job = order.job
    if order.code != code_hash():
        raise InputError(
            f"{node()} has another LightMamba than the one that ordered the job; install the same"
        )
    if isinstance(job.measure, Machine):
        return run_estimate(job)
    if not order.folder.is_dir():
        raise InputError(
            f"{node()} does not see the folder {order.folder}; give -o a folder that all machines "
            f"share under one path"
        )
    torch.set_num_threads(order.threads)
    if job.measure is None:
        return _quantize(order, progress)
    subject = _float(job.model) if job.recipe is None else _engine(order)
    order.journal.parent.mkdir(exist_ok=True)
    common = {"code": order.code, "file": None if job.recipe is None else sha256(order.file)}
    with Journal(order.journal, common, restart=True) as journal:
        options = {"threads": order.threads, "progress": progress}
        if isinstance(job.measure, Task):
            found = _run_task(job.measure, subject, journal, options)
        else:
            found = _read_text(job, subject, journal, options)
    if job.recipe is not None:  # values that saturated where they should not have
        counters = subject.logits.counters
        found["overflows"] = int(sum(n for kind, n in counters.items() if kind != "clipped"))
    return found


def run_estimate(job: Job) -> dict[str, Any]:
    """Speed of a token; a refusal is a result too: that machine will never run the model."""
    assert job.recipe is not None
    assert isinstance(job.measure, Machine)
    try:
        found = estimate(job.model.config, job.recipe.formats, job.measure.target)
    except InputError as error:
        return {"refused": str(error)}
    joules = found.energy.tokens_per_joule if found.energy else None
    return {
        "tokens_per_second": found.tokens_per_second,
        "cycles_per_token": found.cycles,
        "bound": found.bound,
        "bytes_per_token": sum(found.channel_bytes.values()),
        "tokens_per_joule": None if joules is None else joules[1],
    }


def _quantize(order: Order, progress: Progress | None) -> dict[str, Any]:
    """Quantize a checkpoint into a file, unless it is there: it is renamed into place whole.

    A layer at a time, with a journal next to the file: a killed job resumes, and gives the same
    bytes. A journal of other threads, versions or another code is begun again.
    """
    job, file = order.job, order.file
    assert job.recipe is not None
    assert job.learning is not None
    learning = job.learning
    if not file.is_file():  # else only its row was lost
        text = None if learning.text is None else Path(learning.text)
        if text is not None:
            _check(text, learning.sha256)
        checkpoint = _checkpoint(job.model)
        calibration = Calibration(text, sequences=learning.sequences, seqlen=learning.seqlen)
        ids, kind = calibration.tokens(checkpoint, learning.seed)
        file.parent.mkdir(exist_ok=True)
        run = FileRun(
            checkpoint,
            job.recipe,
            ids,
            kind,
            file,
            learning.seed,
            order.threads,
            also={"code": order.code},
            restart=True,
        )
        run.run(force=True, progress=progress)
    model = load(file)
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "bytes_per_token": sum(model.bytes_per_token().values()),
        "worst_error": max(model.origin["errors"].values(), default=None),
    }


def _read_text(
    job: Job, subject: Subject, journal: Journal, options: dict[str, Any]
) -> dict[str, Any]:
    """Perplexity of a text, and its comparison with the float model if that is asked for."""
    measure = job.measure
    assert isinstance(measure, Text)
    text = heldout()
    if measure.place is not None:
        _check(Path(measure.place), measure.sha256)
        text = inputs.read_text(Path(measure.place))
    ids = encode_text(subject.tokenizer, text)
    whole = measure.tokens is None or measure.tokens >= len(ids)
    options |= {"window": measure.window, "text_bytes": len(text.encode()) if whole else None}
    del text
    ids = ids[: measure.tokens]
    result: dict[str, Any] = {}
    if job.recipe is not None:
        learnt = subject.given.calibration_windows
        share = check_overlap(ids, learnt, allow=measure.allow_overlap)
        result["calibration_overlap"] = share
    options["part"] = journal.part("the text", {"ids": hashlib.sha256(ids.data).hexdigest()})
    reference = _float(job.model).logits if measure.against else None
    return subject.text(ids, reference, **options) | result


def _run_task(
    measure: Task, subject: Subject, journal: Journal, options: dict[str, Any]
) -> dict[str, Any]:
    """All metrics of a task."""
    if measure.place is not None:
        _check(Path(measure.place), measure.version)
    names = [measure.place or measure.name]
    (found,) = subject.tasks(names, limit=measure.rows, journal=journal, **options)
    return found


def _float(source: Model) -> Subject:
    """The float model of a checkpoint."""
    found = _checkpoint(source).load()
    return Subject(FloatModel(found.model, found.valid_vocab), found, LACKING)


def _engine(order: Order) -> Subject:
    """The integer engine of a quantized file."""
    model = load(order.file)
    return Subject(Engine(model, threads=order.threads), model, LACKING)


def _checkpoint(model: Model) -> OpenCheckpoint:
    """A checkpoint with its weights still on the disk."""
    assert model.place is not None
    tokenizer = None if model.tokenizer is None else Path(model.tokenizer)
    found = open_checkpoint(model.place, revision=model.revision, tokenizer=tokenizer)
    hashes = dict(found.source.hashes)
    if found.tokenizer is not None:
        hashes["tokenizer.json"] = hashlib.sha256(found.tokenizer).hexdigest()
    wanted = dict(model.hashes)
    if wrong := sorted(name for name in hashes if hashes[name] != wanted.get(name)):
        raise InputError(
            f"{wrong[0]} of {model.place} is not the one that the plan was made with; "
            f"start the sweep again to take this one"
        )
    return found


def _check(place: Path, wanted: str | None) -> None:
    if sha256(place) != wanted:
        raise InputError(
            f"{place} is not what it was when the plan was made; start the sweep again to take it "
            f"as it is"
        )
