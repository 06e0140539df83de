"""``lightmamba evaluate``."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import add_device
from lightmamba.cli.models import bundled_checkpoint, bundled_file, short_name
from lightmamba.cli.results import add_results, check_results, keep_result

if TYPE_CHECKING:
    from lightmamba.cli.models import Opened
    from lightmamba.evaluate import Comparison, Journal

__all__ = ["add_arguments", "resumes", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=bundled_file, metavar="MODEL or BUILD",
                        help="quantized file, bundled, checkpoint, build")  # fmt: skip
    add_device(parser)
    parser.add_argument("--text", type=Path, metavar="FILE",
                        help="text to predict; shipped: our held-out text")  # fmt: skip
    parser.add_argument("--ids", type=Path, metavar="FILE", help="token ids to predict")
    parser.add_argument("--against", type=bundled_checkpoint, metavar="CKPT",
                        help="float checkpoint to compare with, or bundled")  # fmt: skip
    parser.add_argument("--task", action="append", default=[], metavar="NAME or FILE",
                        help="jsonl file, or a task of lm-eval; repeatable")  # fmt: skip
    parser.add_argument("--limit", type=int, help="evaluate at most this many rows of each task")
    parser.add_argument(
        "--window",
        type=int,
        default=1024,
        help="tokens between resets of the state (default: 1024)",
    )
    parser.add_argument(
        "--batch", type=int, help="sequences evaluated together (default: chosen for speed)"
    )
    parser.add_argument("--journal", type=Path, metavar="FILE",
                        help="saves progress; the same command resumes from it")  # fmt: skip
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json, for a checkpoint without one",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--allow-overlap", action="store_true",
                        help="evaluate although the calibration used this text")  # fmt: skip
    add_results(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    _check(args)

    from lightmamba.cli.devices import check_device_flags, open_build, read_build
    from lightmamba.cli.models import is_file, open_engine, open_float
    from lightmamba.common.errors import InputError
    from lightmamba.hardware.machine.artifact import MANIFEST, Artifact

    check_device_flags(args)
    build = Path(args.model).expanduser()
    if (build / MANIFEST).is_file():
        artifact = Artifact.read(build)
        opened = open_build(artifact, read_build(artifact)[0], args)
        args.batch, quantized = 1 if args.device != "engine" else args.batch, True
        return _evaluated(args, opened, quantized)
    if args.device != "engine":
        raise InputError(
            f"device {args.device} runs a build; make one with: "
            f"lightmamba compile {args.model} --target tiny -o build"
        )
    quantized = is_file(args.model)
    if quantized and args.tokenizer and not args.against:
        raise InputError(
            f"--tokenizer is for a checkpoint without one, but {args.model} is a quantized file, "
            f"which carries its own; quantize again with --tokenizer to change it"
        )
    if quantized:
        opened = open_engine(args.model, args.threads)
    else:
        opened = open_float(args.model, args.revision, args.tokenizer, args.threads)
    return _evaluated(args, opened, quantized)


def resumes(args: argparse.Namespace) -> str | None:
    """Where an interrupted run goes on from."""
    return None if args.journal is None else str(args.journal)


def _evaluated(args: argparse.Namespace, opened: "Opened", quantized: bool) -> dict[str, Any]:
    from lightmamba.cli.show import fields, table

    result: dict[str, Any] = {"model": args.model}
    with _journal(args, opened, quantized) as journal:
        if args.text or args.ids:
            result |= _text(args, opened, quantized, journal)
        if args.task:
            result["tasks"] = _tasks(args, opened, journal)
    if quantized and opened.model.counters is not None:
        counters = dict(opened.model.counters)
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
    if not args.json:
        plain = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
        fields("evaluated", plain | {"model": short_name(args.model)})
        for task in result.get("tasks", []):
            errors = task["standard_errors"]
            rows = [(name, value, errors[name]) for name, value in task["metrics"].items()]
            table(f"{task['name']} ({task['rows']} rows)", ("metric", "value", "± standard error"),
                  rows)  # fmt: skip
    return result


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments before anything is read."""
    from lightmamba.common.errors import InputError

    if args.text and args.ids:
        raise InputError("give --text FILE or --ids FILE, not both")
    if not (args.text or args.ids or args.task):
        raise InputError(
            "there is nothing to evaluate; give --text FILE, --ids FILE or --task NAME"
        )
    if args.results and not args.against:
        raise InputError("--results keeps a comparison with the float model; give --against CKPT")
    check_results(args.results)
    if args.against and not (args.text or args.ids):
        raise InputError("--against compares on a text; give --text FILE or --ids FILE too")
    for name, least, right in (("window", 2, 1024), ("batch", 1, 16), ("limit", 1, 100)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name} must be at least {least}, not {value}; try {right}")


@contextmanager
def _journal(
    args: argparse.Namespace, opened: "Opened", quantized: bool
) -> Iterator["Journal | None"]:
    """Open the journal, if one is given; its keys hold what the model is."""
    from hashlib import sha256

    from lightmamba.common.files import sha256_of
    from lightmamba.evaluate import Journal

    if args.journal is None:
        yield None
        return
    hashes = dict(opened.hashes)
    if quantized:
        path = Path(args.model).expanduser()
        hashes["file"] = sha256_of(path / "manifest.json" if path.is_dir() else path)
    hashes["tokenizer"] = sha256(opened.tokenizer or b"").hexdigest()
    with Journal(args.journal, {"model": hashes}) as journal:
        yield journal


def _text(
    args: argparse.Namespace, opened: "Opened", quantized: bool, journal: "Journal | None"
) -> dict[str, Any]:
    from hashlib import sha256

    from lightmamba.cli.models import open_float, tokenizer_of
    from lightmamba.cli.show import progress
    from lightmamba.evaluate import check_overlap, compare, encode_text, perplexity
    from lightmamba.model.data import SHIPPED, heldout
    from lightmamba.model.inputs import read_ids, read_text

    model, size = opened.model, None
    if args.text:
        ours = str(args.text) == SHIPPED and not args.text.exists()
        text = heldout() if ours else read_text(args.text)
        tokenizer = tokenizer_of(opened.tokenizer, model.valid_vocab, args.model)
        with progress(f"encoding {args.text}") as bar:
            ids = encode_text(tokenizer, text, progress=bar)
        size = len(text.encode())
        del text
    else:
        ids = read_ids(args.ids, model.valid_vocab).astype("int32")
    result: dict[str, Any] = {}
    if quantized:
        hashes = model.model.calibration_windows
        result["calibration_overlap"] = check_overlap(ids, hashes, allow=args.allow_overlap)
    reference = None
    if args.against:
        engine = model if quantized else None
        reference = open_float(args.against, args.revision, args.tokenizer, args.threads, engine)
    options = {
        "window": args.window, "text_bytes": size, "batch": args.batch, "threads": args.threads
    }  # fmt: skip
    if journal is not None:
        settings = {
            "ids": sha256(ids.data).hexdigest(), "--window": args.window, "--batch": args.batch,
            "--against": None if reference is None else reference.hashes,
        }  # fmt: skip
        options["part"] = journal.part("the text", settings)
    if reference is not None:
        with progress(f"evaluating against {args.against}") as bar:
            traced = quantized and args.device == "engine"
            shown = _traced(model) if traced else model
            both = compare(shown, reference.model, ids, **options, progress=bar)
        found = both.model
        result |= _comparison(both, args.json)
    else:
        with progress(f"evaluating on {args.text or args.ids}") as bar:
            found = perplexity(model, ids, **options, progress=bar)
    return {
        "perplexity": found.perplexity,
        "standard_error": found.standard_error,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
        **result,
    }


def _comparison(both: "Comparison", quiet: bool) -> dict[str, Any]:
    from lightmamba.cli.show import table

    if both.layers and not quiet:
        rows = [(e.name, e.snr_db) for e in both.layers]
        table("against the float model, by layer", ("tensor", "SNR, dB"), rows)
    return {
        "reference_perplexity": both.reference.perplexity,
        "ratio": both.ratio,
        "ratio_standard_error": both.ratio_standard_error,
        "kl": both.kl,
        "kl_standard_error": both.kl_standard_error,
        "top1_agreement": both.top1_agreement,
        "first_divergence": both.first_divergence,
        "layers": [
            {"name": e.name, "relative_error": e.relative_error, "snr_db": e.snr_db}
            for e in both.layers
        ],
    }


def _traced(engine: Any) -> Any:
    """The engine, showing its layers in the checkpoint's basis if its file tells which that is."""
    from lightmamba.cli.traced import TracedEngine, knows_its_basis

    return TracedEngine(engine) if knows_its_basis(engine) else engine


def _tasks(
    args: argparse.Namespace, opened: "Opened", journal: "Journal | None"
) -> list[dict[str, Any]]:
    from lightmamba.cli.models import tokenizer_of
    from lightmamba.cli.show import progress
    from lightmamba.evaluate import evaluate_file, run_tasks
    from lightmamba.model.tokenizer import BareTokenizer

    model = opened.model
    tokenizer = BareTokenizer(tokenizer_of(opened.tokenizer, model.valid_vocab, args.model))
    options = {
        "limit": args.limit, "eot_id": next(iter(opened.eos_ids), None), "batch": args.batch,
        "threads": args.threads, "journal": journal,
    }  # fmt: skip
    found, names = [], []
    for task in args.task:
        if task.endswith(".jsonl"):
            with progress(task) as bar:
                found.append(evaluate_file(model, tokenizer, Path(task), **options, progress=bar))
        else:
            names.append(task)
    if names:
        with progress(", ".join(names)) as bar:
            found.extend(run_tasks(model, tokenizer, names, **options, progress=bar))
    return [
        {
            "name": t.name,
            "rows": t.rows,
            "metrics": {name: e.value for name, e in t.metrics.items()},
            "standard_errors": {name: e.standard_error for name, e in t.metrics.items()},
        }
        for t in found
    ]
