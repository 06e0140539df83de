"""``lightmamba evaluate``."""

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.cli.devices import check_device_flags, open_decoder
from lightmamba.cli.models import is_file, open_float, short_name
from lightmamba.cli.options import at_least
from lightmamba.cli.results import check_results, keep_result
from lightmamba.cli.show import fields, progress, table
from lightmamba.common.errors import InputError
from lightmamba.common.files import code_hash, sha256_of
from lightmamba.engine import Engine
from lightmamba.evaluate import (
    Journal,
    Subject,
    check_experts,
    check_overlap,
    compare_routing,
    encode_text,
)
from lightmamba.hardware.machine.artifact import MANIFEST
from lightmamba.model.data import SHIPPED, heldout
from lightmamba.model.inputs import read_ids, read_text
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.text.model import Model

__all__ = ["run"]

SAMPLED = 8  # rows of the embedding per channel that a basis is found from, at most


class Traced(Engine):
    """An engine that hands out its residual stream in the checkpoint's own basis and units."""

    back: NDArray[np.float64] | None = None  # from the file's basis to the checkpoint's

    def turn_back(self, embedding: NDArray[np.float32]) -> None:
        """Find the basis of the file, whose embedding is that of the checkpoint, rotated.

        It is the orthogonal matrix that brings the two nearest to each other (Schönemann, 1966).
        An embedding of another size is of another model, which the comparison refuses.
        """
        if embedding.shape != (self.config.vocab_size, self.config.d_model):
            return
        rows = np.arange(
            0, len(embedding), max(1, len(embedding) // (SAMPLED * embedding.shape[1]))
        )
        mine = self.embed(rows[None], Counter())[0] * 2.0**self.model.residual_exp
        left, _, right = np.linalg.svd(mine.T @ embedding[rows].astype(np.float64))
        self.back = left @ right

    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.float64]]]:
        """Residual stream after every layer, (batch, seqlen, d_model); counts no saturation."""
        unit = 2.0**self.model.residual_exp
        out: list[tuple[str, NDArray[np.float64]]] = []

        def observe(name: str, value: NDArray[Any]) -> None:
            if name.endswith(".residual"):
                real = value.reshape(*ids.shape, -1) * unit
                out.append((name, real if self.back is None else real @ self.back))

        counted = self.counters.copy()
        self.forward(ids, self.empty_state(len(ids)), observe=observe)
        self.counters = counted
        return out


def run(args: argparse.Namespace) -> dict[str, Any]:
    _check(args)
    subject = _opened(args)
    result: dict[str, Any] = {"model": args.model}
    with _journal(args, subject) as journal:
        if args.text or args.ids:
            result |= _text(args, subject, journal)
        if args.task:
            result["tasks"] = _tasks(args, subject, journal)
    if subject.model is not None and subject.logits.counters is not None:
        counters = dict(subject.logits.counters)
        clipped = counters.pop("clipped", 0)
        result |= {
            "overflows": sum(counters.values()),
            "overflows_by_kind": {k: v for k, v in sorted(counters.items()) if v},
            "clipped": clipped,
        }
    if args.against:
        names = ("model", "against", "text", "ids", "window")
        of = {name: str(getattr(args, name)) for name in names}
        keep_result(args.results, "accuracy", of, result, "measured")
    plain = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
    fields("evaluated", plain | {"model": short_name(args.model)})
    for task in result.get("tasks", []):
        errors = task["standard_errors"]
        rows = [(name, value, errors[name]) for name, value in task["metrics"].items()]
        title = f"{task['name']} ({task['rows']} rows)"
        table(title, ("metric", "value", "± standard error"), rows)
    return result


def _opened(args: argparse.Namespace) -> Subject:
    """The quantized file, build or checkpoint, on what is to run it."""
    check_device_flags(args)
    path = Path(args.model).expanduser()
    lacking = (
        f"{args.model} has no tokenizer, so text cannot be read; give one with "
        f"--tokenizer FILE, a tokenizer.json"
    )
    build = args.device != "engine" or (path / MANIFEST).is_file()
    if not build and not is_file(args.model):
        if args.routing:
            raise InputError(
                f"--routing needs a quantized file, but {args.model} is a float checkpoint"
            )
        found = open_float(args.model, args.revision, args.tokenizer, args.threads)
        return Subject(*found, lacking)
    if not build and args.tokenizer and not args.against:
        raise InputError(
            f"--tokenizer is for a checkpoint without one, but {args.model} is a quantized file, "
            f"which carries its own; quantize again with --tokenizer to change it"
        )
    model = Model.read(path, args.device, threads=args.threads, name=args.model)
    if args.routing and not any(sizes.routed for sizes in model.quantized.config.layers):
        raise InputError(
            f"{args.model} has no experts; --routing compares which experts are chosen"
        )
    logits = None
    if args.device != "engine":
        args.batch = 1
    elif args.against and "recipe" in model.quantized.origin:
        logits = Traced(model.quantized, threads=model.threads)
    return Subject(logits or open_decoder(model, args), model.quantized, lacking, model)


def _is_rotated(model: QuantizedModel) -> bool:
    """Whether the file's residual stream has another basis than the checkpoint's."""
    from lightmamba.quantization.passes import Rotate
    from lightmamba.quantization.recipe import Recipe

    recipe = Recipe.parse(model.origin["recipe"], "the file's recipe")
    return any(isinstance(step, Rotate) for step in recipe.passes)


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments before anything is read."""
    if args.text and args.ids:
        raise InputError("give --text FILE or --ids FILE, not both")
    if not (args.text or args.ids or args.task):
        raise InputError(
            "there is nothing to evaluate; give --text FILE, --ids FILE or --task NAME"
        )
    if args.routing and not args.against:
        raise InputError("--routing compares with the float model; give --against CKPT too")
    if args.routing and args.device != "engine":
        raise InputError("--routing runs on the engine; leave --device out")
    if args.results and not args.against:
        raise InputError("--results keeps a comparison with the float model; give --against CKPT")
    check_results(args.results)
    if args.chat and not args.task:
        raise InputError("--chat is for tasks; give --task FILE or --task NAME too")
    if args.against and not (args.text or args.ids):
        raise InputError("--against compares on a text; give --text FILE or --ids FILE too")
    at_least(args, window=(2, 1024), batch=(1, 16), limit=(1, 100))


def _journal(args: argparse.Namespace, subject: Subject) -> AbstractContextManager[Journal | None]:
    """The journal, if one is given; its keys hold what the model is, and what reads it."""
    if args.journal is None:
        return nullcontext()
    if subject.model is None:
        hashes = dict(subject.given.source.hashes)
    else:
        path = Path(args.model).expanduser()
        hashes = {"file": sha256_of(path / "manifest.json" if path.is_dir() else path)}
    hashes["tokenizer"] = sha256(subject.given.tokenizer or b"").hexdigest()
    return Journal(args.journal, {"model": hashes, "code": code_hash()})


def _text(args: argparse.Namespace, subject: Subject, journal: Journal | None) -> dict[str, Any]:
    """Perplexity of a text or of ids, and the comparison with a float checkpoint."""
    model, size = subject.model, None
    if args.text:
        ours = str(args.text) == SHIPPED and not args.text.exists()
        text = heldout() if ours else read_text(args.text)
        tokenizer = subject.tokenizer
        with progress(f"encoding {args.text}") as bar:
            ids = encode_text(tokenizer, text, progress=bar)
        size = len(text.encode())
        del text
    else:
        ids = read_ids(args.ids, subject.logits.valid_vocab).astype("int32")
    result: dict[str, Any] = {}
    if model is not None:
        hashes = model.quantized.calibration_windows
        result["calibration_overlap"] = check_overlap(ids, hashes, allow=args.allow_overlap)
    reference = source = None
    if args.against:
        reference, source = open_float(
            args.against, args.revision, args.tokenizer, args.threads, model
        )
        if args.routing and model is not None:
            check_experts(model.quantized.config.layers, reference.model.config.layers)
        if isinstance(subject.logits, Traced) and _is_rotated(subject.logits.model):
            subject.logits.turn_back(reference.model.embedding.weight.detach().float().numpy())
    part = None
    if journal is not None:
        settings = {
            "ids": sha256(ids.data).hexdigest(),
            "--window": args.window,
            "--batch": args.batch,
            "--against": None if source is None else dict(source.source.hashes),
        }
        part = journal.part("the text", settings)
    on = f"against {args.against}" if args.against else f"on {args.text or args.ids}"
    with progress(f"evaluating {on}") as bar:
        options = {"window": args.window, "batch": args.batch, "threads": args.threads}
        found = subject.text(ids, reference, **options, text_bytes=size, part=part, progress=bar)
    if args.routing:
        with progress("comparing choices of experts") as bar:
            result["routing"] = _routing(subject.logits, reference, ids, progress=bar, **options)
    if layers := found.get("layers"):
        rows = [(layer["name"], layer["snr_db"]) for layer in layers]
        table("against the float model, by layer", ("tensor", "SNR, dB"), rows)
    return found | result


def _routing(engine: Engine, reference: Any, ids: NDArray[Any], **options: Any) -> dict[str, Any]:
    """Experts that the model and its reference choose, and what the difference costs."""
    with engine.routers() as mine:
        routers = mine, reference.routers
        found = compare_routing(engine, reference, routers, ids, **options).plain()
    names = ("equal", "overlap", "kept_weight", "gap", "gap_flipped")
    rows = [(each["name"], *(each[name] for name in names)) for each in found["layers"]]
    heads = ("layer", "same experts", "overlap", "weight kept", "gap of scores", "of flips")
    table("experts that both choose", heads, rows)
    fields("routing", {k: v for k, v in found.items() if k != "layers"})
    return found


def _tasks(
    args: argparse.Namespace, subject: Subject, journal: Journal | None
) -> list[dict[str, Any]]:
    """Results of the tasks of files, one by one, and of those of lm-eval together."""
    groups = [[task] for task in args.task if task.endswith(".jsonl")]
    if names := [task for task in args.task if not task.endswith(".jsonl")]:
        groups.append(names)
    found = []
    for group in groups:
        with progress(", ".join(group)) as bar:
            options = {"limit": args.limit, "batch": args.batch, "threads": args.threads}
            options |= {"chat": args.chat, "seed": args.seed}
            found += subject.tasks(group, **options, journal=journal, progress=bar)
    return found
