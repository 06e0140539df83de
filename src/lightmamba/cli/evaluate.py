"""``lightmamba evaluate``."""

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="quantized file, folder, or hub id")
    parser.add_argument("--text", type=Path, metavar="FILE", help="text to predict")
    parser.add_argument("--ids", type=Path, metavar="FILE", help="token ids to predict")
    parser.add_argument("--against", metavar="CKPT", help="float checkpoint to compare with")
    parser.add_argument("--task", action="append", default=[], metavar="NAME or FILE",
                        help="jsonl file, or a task of lm-eval; repeatable")  # fmt: skip
    parser.add_argument("--limit", type=int, help="rows of each task")
    parser.add_argument("--window", type=int, default=1024, help="tokens between resets (1024)")
    parser.add_argument("--batch", type=int, default=16, help="windows at once (16)")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="for a checkpoint without")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--allow-overlap", action="store_true",
                        help="evaluate although the text was calibrated on")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.models import is_file, open_engine, open_float
    from lightmamba.cli.show import fields
    from lightmamba.errors import InputError

    if bool(args.text) == bool(args.ids) and not args.task:
        raise InputError("give one of --text FILE, --ids FILE, or --task NAME")
    if args.text and args.ids:
        raise InputError("give --text FILE or --ids FILE, not both")
    if is_file(args.model):
        model: Any = open_engine(args.model, args.threads)
        tokenizer = model.model.tokenizer
    else:
        model, tokenizer = open_float(args.model, args.revision, args.tokenizer)
    result: dict[str, Any] = {"model": args.model}
    if args.text or args.ids:
        result |= _text(args, model, tokenizer)
    if args.task:
        result["tasks"] = _tasks(args, model, tokenizer)
    if hasattr(model, "counters"):
        clipped = model.counters.pop("clipped", 0)
        result |= {
            "overflows": sum(model.counters.values()),
            "overflows_by_kind": {k: v for k, v in model.counters.items() if v},
            "clipped": clipped,
        }
    if not args.json:
        fields("evaluated", {k: v for k, v in result.items() if not isinstance(v, dict | list)})
        for task in result.get("tasks", []):
            fields(f"{task['name']} ({task['rows']} rows)", task["metrics"])
    return result


def _text(args: argparse.Namespace, model: Any, tokenizer: bytes | None) -> dict[str, Any]:
    from lightmamba.cli.models import open_float, tokenizer_of
    from lightmamba.cli.show import progress, table
    from lightmamba.evaluate import check_overlap, compare, perplexity
    from lightmamba.inputs import read_ids, read_text

    size = None
    if args.text:
        text = read_text(args.text)
        ids = tokenizer_of(tokenizer, model.valid_vocab, args.model).encode(text)
        size = len(text.encode())
    else:
        ids = read_ids(args.ids, model.valid_vocab)
    share = None
    if hasattr(model, "model") and hasattr(model.model, "calibration_windows"):
        share = check_overlap(ids, model.model.calibration_windows, allow=args.allow_overlap)
    options = {"window": args.window, "text_bytes": size, "batch": args.batch}
    if not args.against:
        with progress("evaluating") as bar:
            found = perplexity(model, ids, **options, progress=bar)
        result: dict[str, Any] = {}
    else:
        reference, _ = open_float(args.against, args.revision, args.tokenizer)
        with progress(f"evaluating against {args.against}") as bar:
            both = compare(_traced(model), reference, ids, **options, progress=bar)
        found = both.model
        result = {
            "reference_perplexity": both.reference.perplexity,
            "ratio": both.ratio,
            "ratio_standard_error": both.ratio_standard_error,
            "kl": both.kl,
            "kl_standard_error": both.kl_standard_error,
            "top1_agreement": both.top1_agreement,
            "first_divergence": both.first_divergence,
            "layers": [{"name": e.name, "relative_error": e.relative_error} for e in both.layers],
        }
        if not args.json:
            rows = [(e.name, e.snr_db) for e in both.layers]
            table("against the float model, by layer", ("tensor", "SNR, dB"), rows)
    return {
        "perplexity": found.perplexity,
        "standard_error": found.standard_error,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
        **({} if share is None else {"calibration_overlap": share}),
        **result,
    }


def _traced(model: Any) -> Any:
    """An engine that also shows its layers in the checkpoint's basis; a float model as it is."""
    if not hasattr(model, "ops"):
        return model
    from lightmamba.cli.traced import TracedEngine

    return TracedEngine(model)


def _tasks(args: argparse.Namespace, model: Any, data: bytes | None) -> list[dict[str, Any]]:
    from lightmamba.cli.models import tokenizer_of
    from lightmamba.cli.show import progress
    from lightmamba.evaluate import evaluate_file, run_tasks

    tokenizer = tokenizer_of(data, model.valid_vocab, args.model)
    found, names = [], []
    for task in args.task:
        if task.endswith(".jsonl"):
            with progress(task) as bar:
                found.append(
                    evaluate_file(model, tokenizer, Path(task), limit=args.limit, progress=bar)
                )
        else:
            names.append(task)
    if names:
        with progress(", ".join(names)) as bar:
            found.extend(run_tasks(model, tokenizer, names, limit=args.limit, progress=bar))
    return [
        {
            "name": t.name,
            "rows": t.rows,
            "metrics": {name: e.value for name, e in t.metrics.items()},
            "standard_errors": {name: e.standard_error for name, e in t.metrics.items()},
        }
        for t in found
    ]
