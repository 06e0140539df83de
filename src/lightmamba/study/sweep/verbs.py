"""The project's verbs as a sweep calls them; all that it knows of quantizing and evaluating."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.quantization.recipe import Recipe
from lightmamba.study.sweep.job import Learning, Machine, Model, Task, Text

__all__ = [
    "Kept",
    "Opened",
    "Progress",
    "open_engine",
    "open_float",
    "quantize",
    "read_text",
    "run_estimate",
    "run_task",
]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Opened:
    """A model that gives logits, what came with it, and the hashes of what it learnt from.

    Parameters
    ----------
    threads : int
        Of the model, and of the work on its logits.
    sha256 : str or None
        Of its quantized file.
    """

    model: Any
    tokenizer: bytes | None
    special_ids: Mapping[str, int | list[int]]
    threads: int
    sha256: str | None = None
    calibration: Any = None

    @property
    def end(self) -> int | None:
        """The first id that ends a text, if one is known."""
        found = self.special_ids.get("eos")
        return next(iter(found), None) if isinstance(found, list) else found


@dataclass(frozen=True)
class Kept:
    """Where an evaluation writes down what it finds, and goes on from after a kill.

    Parameters
    ----------
    path : Path
        Of the job alone, so that it need not say what the job's key says.
    code : str
        What is of another code is not gone on with.
    """

    path: Path
    code: str

    @contextmanager
    def open(self, name: str, opened: Opened, **settings: Any) -> Iterator[tuple[Any, Any]]:
        """The journal and its part ``name``; a damaged one is begun again."""
        from lightmamba.evaluate import Journal

        self.path.parent.mkdir(exist_ok=True)
        common = {"code": self.code, "file": opened.sha256}
        with Journal(self.path, common, restart=True) as journal:
            yield journal, journal.part(name, settings)


def _checkpoint(model: Model) -> Any:
    """All of a checkpoint but its weights, which are on the disk still."""
    from lightmamba.model.checkpoint import open_checkpoint

    assert model.place is not None
    found = open_checkpoint(
        model.place, revision=model.revision,
        tokenizer=None if model.tokenizer is None else Path(model.tokenizer),
    )  # fmt: skip
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


def quantize(
    source: Model, recipe: Recipe, learning: Learning, file: Path, threads: int, code: str,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Quantize a checkpoint into a file, unless it is there: it is renamed into place whole.

    A layer at a time, with a journal next to the file: what was killed resumes, and gives the same
    bytes. A journal of other threads, versions or another ``code`` is begun again.

    Raises
    ------
    InputError
        If a file is not the one of the plan, or for what :class:`~lightmamba.quantization.FileRun`
        refuses.
    """
    import torch

    from lightmamba.quantization import Calibration, FileRun

    if file.is_file():  # only its row was lost
        return _made(file)
    torch.set_num_threads(threads)
    if learning.text is not None:
        _check(learning.text, str(learning.sha256))
    text = None if learning.text is None else Path(learning.text)
    tell = None if progress is None else lambda _, done, total: progress(done, total)
    checkpoint = _checkpoint(source)
    calibration = Calibration(text, sequences=learning.sequences, seqlen=learning.seqlen)
    ids, kind = calibration.tokens(checkpoint, learning.seed)
    file.parent.mkdir(exist_ok=True)
    run = FileRun(
        checkpoint, recipe, ids, kind, file, learning.seed, threads,
        also={"code": code}, restart=True,
    )  # fmt: skip
    run.run(force=True, progress=tell)
    return _made(file)


def _made(file: Path) -> dict[str, Any]:
    from lightmamba.model.qmodel import load

    model = load(file)
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "bytes_per_token": sum(model.bytes_per_token().values()),
        "worst_error": max(model.origin["errors"].values(), default=None),
    }


def _check(place: str, wanted: str) -> None:
    from lightmamba.model.checkpoint.files import sha256

    if sha256(Path(place)) != wanted:
        raise InputError(
            f"{place} is not what it was when the plan was made; start the sweep again to take it "
            f"as it is"
        )


def open_float(source: Model, threads: int) -> Opened:
    """The float model of a checkpoint."""
    import torch

    from lightmamba.model.reference import FloatModel

    torch.set_num_threads(threads)
    found = _checkpoint(source).load()
    reference = FloatModel(found.model, found.valid_vocab)
    return Opened(reference, found.tokenizer, found.special_ids, threads)


def open_engine(file: Path, threads: int) -> Opened:
    """The integer engine of a quantized file."""
    from lightmamba.engine import Engine
    from lightmamba.model.checkpoint.files import sha256
    from lightmamba.model.qmodel import load

    model = load(file)
    engine = Engine(model, threads=threads)
    return Opened(
        engine, model.tokenizer, model.special_ids, threads, sha256(file),
        model.calibration_windows,
    )  # fmt: skip


def _tokenizer(opened: Opened) -> Any:
    from lightmamba.model.tokenizer import Tokenizer, check_vocab

    if opened.tokenizer is None:
        raise InputError(
            "the checkpoint has no tokenizer, so text cannot be read; "
            'give it one in the plan: { place = "…", tokenizer = "tokenizer.json" }'
        )
    tokenizer = Tokenizer.from_bytes(opened.tokenizer)
    check_vocab(tokenizer, opened.model.valid_vocab)
    return tokenizer


def read_text(
    measure: Text, opened: Opened, reference: Opened | None, kept: Kept,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Perplexity of a text, and what a comparison with ``reference`` says.

    Raises
    ------
    InputError
        If the text is another, there is no tokenizer, or for what ``perplexity`` refuses.
    """
    from lightmamba.evaluate import check_overlap, compare, encode_text, perplexity
    from lightmamba.model import inputs
    from lightmamba.model.data import heldout

    if measure.place is not None:
        _check(measure.place, measure.sha256)
    text = heldout() if measure.place is None else inputs.read_text(Path(measure.place))
    ids = encode_text(_tokenizer(opened), text)
    whole = measure.tokens is None or measure.tokens >= len(ids)
    size = len(text.encode()) if whole else None
    del text
    ids = ids[: measure.tokens]
    result: dict[str, Any] = {}
    if opened.calibration is not None:
        share = check_overlap(ids, opened.calibration, allow=measure.allow_overlap)
        result["calibration_overlap"] = share
    with kept.open("the text", opened, ids=hashlib.sha256(ids.data).hexdigest()) as (_, part):
        options: dict[str, Any] = {
            "window": measure.window, "text_bytes": size, "threads": opened.threads,
            "progress": progress, "part": part,
        }  # fmt: skip
        if reference is not None:
            both = compare(opened.model, reference.model, ids, **options)
            found = both.model
            names = ("ratio", "ratio_standard_error", "kl", "kl_standard_error", "top1_agreement")
            result |= {name: getattr(both, name) for name in names}
        else:
            found = perplexity(opened.model, ids, **options)
    return {
        "perplexity": found.perplexity,
        "standard_error": found.standard_error,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
        **result,
        **_losses(opened),
    }


def run_task(
    measure: Task, opened: Opened, kept: Kept, progress: Progress | None = None
) -> dict[str, Any]:
    """All metrics of a task.

    Raises
    ------
    InputError
        If its file is another, or for what ``evaluate_file`` and ``run_tasks`` refuse.
    """
    from lightmamba.evaluate import evaluate_file, run_tasks
    from lightmamba.model.tokenizer import BareTokenizer

    if measure.place is not None:
        _check(measure.place, measure.version)
    tokenizer = BareTokenizer(_tokenizer(opened))
    with kept.open("the model", opened) as (journal, _):
        options: dict[str, Any] = {
            "limit": measure.rows, "eot_id": opened.end, "threads": opened.threads,
            "progress": progress, "journal": journal,
        }  # fmt: skip
        if measure.place is not None:
            found = evaluate_file(opened.model, tokenizer, measure.place, **options)
        else:
            found = run_tasks(opened.model, tokenizer, [measure.name], **options)[0]
    return {
        "rows": found.rows,
        "metrics": {name: e.value for name, e in found.metrics.items()},
        "standard_errors": {name: e.standard_error for name, e in found.metrics.items()},
        **_losses(opened),
    }


def _losses(opened: Opened) -> dict[str, Any]:
    """Values that saturated where they should not have, of an engine."""
    counters = getattr(opened.model, "counters", None)
    if counters is None:
        return {}
    return {"overflows": int(sum(n for kind, n in counters.items() if kind != "clipped"))}


def run_estimate(source: Model, recipe: Recipe, measure: Machine) -> dict[str, Any]:
    """Speed of a token; a machine that cannot run the model is a result too: it never will."""
    from lightmamba.hardware.estimate import estimate

    try:
        found = estimate(source.config, recipe.formats, measure.target)
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
