"""``lightmamba evaluate``."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import add_device
from lightmamba.cli.models import short_name
from lightmamba.cli.options import at_least
from lightmamba.cli.results import add_results, check_results, keep_result
from lightmamba.model.data import bundled_checkpoint, bundled_file

if TYPE_CHECKING:
    from lightmamba.evaluate import Comparison, Journal
    from lightmamba.model.tokenizer import Tokenizer
    from lightmamba.text.model import Model

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


@dataclass(frozen=True)
class Subject:
    """Subject of an evaluation.

    Parameters
    ----------
    logits
        Gives them: the integer engine, a device, or the float model of a checkpoint.
    given
        What came with it: a quantized model or a checkpoint.
    model
        The quantized model, of which ``given`` is a part.
    """

    logits: Any
    given: Any
    model: "Model | None" = None

    def tokenizer(self, name: str) -> "Tokenizer":
        """The tokenizer of what is called ``name``; one that is missing is refused."""
        from lightmamba.common.errors import InputError
        from lightmamba.model.tokenizer import Tokenizer, check_vocab

        if self.model is not None:
            return self.model.tokenizer
        if self.given.tokenizer is None:
            raise InputError(
                f"{name} has no tokenizer, so text cannot be read; give one with "
                f"--tokenizer FILE, a tokenizer.json"
            )
        tokenizer = Tokenizer.from_bytes(self.given.tokenizer)
        check_vocab(tokenizer, self.logits.valid_vocab)
        return tokenizer


def run(args: argparse.Namespace) -> dict[str, Any]:
    _check(args)

    from lightmamba.cli.show import fields, table

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
        table(f"{task['name']} ({task['rows']} rows)", ("metric", "value", "± standard error"),
              rows)  # fmt: skip
    return result


def _opened(args: argparse.Namespace) -> Subject:
    """The quantized file, build or checkpoint, on what is to run it."""
    from lightmamba.cli.devices import check_device_flags, open_decoder
    from lightmamba.cli.models import is_file, open_float
    from lightmamba.common.errors import InputError
    from lightmamba.hardware.machine.artifact import MANIFEST
    from lightmamba.text.model import Model

    check_device_flags(args)
    path = Path(args.model).expanduser()
    build = args.device != "engine" or (path / MANIFEST).is_file()
    if not build and not is_file(args.model):
        return Subject(*open_float(args.model, args.revision, args.tokenizer, args.threads))
    if not build and args.tokenizer and not args.against:
        raise InputError(
            f"--tokenizer is for a checkpoint without one, but {args.model} is a quantized file, "
            f"which carries its own; quantize again with --tokenizer to change it"
        )
    model = Model.read(path, args.device, threads=args.threads, name=args.model)
    if args.device != "engine":
        args.batch = 1
    elif args.against:
        from lightmamba.cli.traced import traced

        return Subject(traced(model), model.quantized, model)
    return Subject(open_decoder(model, args), model.quantized, model)


def resumes(args: argparse.Namespace) -> str | None:
    """Where an interrupted run goes on from."""
    return None if args.journal is None else str(args.journal)


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
    at_least(args, window=(2, 1024), batch=(1, 16), limit=(1, 100))


@contextmanager
def _journal(args: argparse.Namespace, subject: Subject) -> Iterator["Journal | None"]:
    """Open the journal, if one is given; its keys hold what the model is."""
    from hashlib import sha256

    from lightmamba.common.files import sha256_of
    from lightmamba.evaluate import Journal

    if args.journal is None:
        yield None
        return
    if subject.model is None:
        hashes = dict(subject.given.source.hashes)
    else:
        path = Path(args.model).expanduser()
        hashes = {"file": sha256_of(path / "manifest.json" if path.is_dir() else path)}
    hashes["tokenizer"] = sha256(subject.given.tokenizer or b"").hexdigest()
    with Journal(args.journal, {"model": hashes}) as journal:
        yield journal


def _text(args: argparse.Namespace, subject: Subject, journal: "Journal | None") -> dict[str, Any]:
    from hashlib import sha256

    from lightmamba.cli.models import open_float
    from lightmamba.cli.show import progress
    from lightmamba.evaluate import check_overlap, compare, encode_text, perplexity
    from lightmamba.model.data import SHIPPED, heldout
    from lightmamba.model.inputs import read_ids, read_text

    logits, model, size = subject.logits, subject.model, None
    if args.text:
        ours = str(args.text) == SHIPPED and not args.text.exists()
        text = heldout() if ours else read_text(args.text)
        tokenizer = subject.tokenizer(args.model)
        with progress(f"encoding {args.text}") as bar:
            ids = encode_text(tokenizer, text, progress=bar)
        size = len(text.encode())
        del text
    else:
        ids = read_ids(args.ids, logits.valid_vocab).astype("int32")
    result: dict[str, Any] = {}
    if model is not None:
        hashes = model.quantized.calibration_windows
        result["calibration_overlap"] = check_overlap(ids, hashes, allow=args.allow_overlap)
    reference = None
    if args.against:
        reference = open_float(args.against, args.revision, args.tokenizer, args.threads, model)
    options = {
        "window": args.window, "text_bytes": size, "batch": args.batch, "threads": args.threads
    }  # fmt: skip
    if journal is not None:
        settings = {
            "ids": sha256(ids.data).hexdigest(), "--window": args.window, "--batch": args.batch,
            "--against": None if reference is None else dict(reference[1].source.hashes),
        }  # fmt: skip
        options["part"] = journal.part("the text", settings)
    if reference is not None:
        with progress(f"evaluating against {args.against}") as bar:
            both = compare(logits, reference[0], ids, **options, progress=bar)
        found = both.model
        result |= _comparison(both)
    else:
        with progress(f"evaluating on {args.text or args.ids}") as bar:
            found = perplexity(logits, ids, **options, progress=bar)
    return {
        "perplexity": found.perplexity,
        "standard_error": found.standard_error,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
        **result,
    }


def _comparison(both: "Comparison") -> dict[str, Any]:
    from lightmamba.cli.show import table

    if both.layers:
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


def _tasks(
    args: argparse.Namespace, subject: Subject, journal: "Journal | None"
) -> list[dict[str, Any]]:
    from lightmamba.cli.show import progress
    from lightmamba.evaluate import evaluate_file, run_tasks
    from lightmamba.model.tokenizer import BareTokenizer
    from lightmamba.text.chat import special_ids

    logits, ends = subject.logits, special_ids(subject.given.special_ids, "eos")
    tokenizer = BareTokenizer(subject.tokenizer(args.model))
    options = {
        "limit": args.limit, "eot_id": next(iter(ends), None), "batch": args.batch,
        "threads": args.threads, "journal": journal,
    }  # fmt: skip
    found, names = [], []
    for task in args.task:
        if task.endswith(".jsonl"):
            with progress(task) as bar:
                found.append(evaluate_file(logits, tokenizer, Path(task), **options, progress=bar))
        else:
            names.append(task)
    if names:
        with progress(", ".join(names)) as bar:
            found.extend(run_tasks(logits, tokenizer, names, **options, progress=bar))
    return [
        {
            "name": t.name,
            "rows": t.rows,
            "metrics": {name: e.value for name, e in t.metrics.items()},
            "standard_errors": {name: e.standard_error for name, e in t.metrics.items()},
        }
        for t in found
    ]
