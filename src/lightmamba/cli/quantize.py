"""``lightmamba quantize``."""

import argparse
import os
import resource
import time
from pathlib import Path
from typing import Any

from lightmamba.model.data import bundled_checkpoint

__all__ = ["add_arguments", "resumes", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=bundled_checkpoint, metavar="CKPT",
                        help="checkpoint folder, bundled, or hub id")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help="quantized model to write")  # fmt: skip
    parser.add_argument(
        "--recipe", default="w4a4", help="shipped recipe or TOML file (default: w4a4)"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="TEXT",
        help="calibration text (default: the shipped novels)",
    )
    parser.add_argument(
        "--calibration-ids", type=Path, metavar="FILE", help="token ids in place of text"
    )
    parser.add_argument(
        "--sequences", type=int, default=160, help="calibration sequences (default: 160)"
    )
    parser.add_argument(
        "--seqlen", type=int, default=512, help="tokens of each sequence (default: 512)"
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json, for a checkpoint without one",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of rotation and sampling (default: 0)"
    )
    parser.add_argument(
        "--torch-device", default="auto", metavar="DEVICE",
        help="device of the float computations: auto, cpu, cuda or mps (default: auto)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.common.errors import InputError
    from lightmamba.common.files import check_output

    check_output(args.output, force=args.force)
    if not 0 <= args.seed < 1 << 63:
        raise InputError(f"--seed must be from 0 to 2**63 - 1, not {args.seed}; try 0")
    # Threads that wait in a loop slow each other down twentyfold where others use the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from lightmamba.cli.show import detail, fields, progress, say, span
    from lightmamba.facade import quantization_of
    from lightmamba.quantization import Calibration
    from lightmamba.quantization.plan import choose_device, flops_per_second

    start = time.perf_counter()
    device = choose_device(args.torch_device)
    job = quantization_of(
        args.checkpoint, args.output, recipe=args.recipe, seed=args.seed, revision=args.revision,
        calibration=Calibration(
            args.calibration, args.calibration_ids, args.sequences, args.seqlen
        ),
        tokenizer=args.tokenizer, threads=args.threads, device=str(device),
    )  # fmt: skip
    recipe, kind = job.recipe, job.kind
    plan, resumed = job.plan, job.resumed
    plan.check(args.output.parent)
    expected = plan.seconds(flops_per_second(device))
    fields(f"plan: {recipe.name}", {
        "layers": job.checkpoint.config.n_layer,
        "calibration": f"{plan.tokens:,} tokens ({plan.sequences} x {plan.seqlen}), {kind}",
        "float device": str(device),
        "memory": f"about {plan.memory / 1e9:.1f} GB",
        "journal": f"{job.folder}, about {sum(plan.disk.values()) / 1e9:.1f} GB"
        + (", resuming" if resumed else ""),
        "time": f"about {span(expected)}" + (" in total" if resumed else ""),
    }, on_stderr=True)  # fmt: skip
    for warning in plan.warnings():
        detail(f"warning: {warning}")
    with progress(f"quantizing by {recipe.name}") as bar:
        origin = job.run(force=args.force, progress=lambda _, done, total: bar(done, total))
    errors = origin["errors"]
    result = {
        "output": str(args.output),
        "bytes": args.output.stat().st_size,
        "seconds": time.perf_counter() - start,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "recipe": recipe.name,
        "torch_device": str(device),
        "resumed": resumed,
        "warnings": plan.warnings(),
        "plan": {"memory_bytes": plan.memory, "seconds": expected, "tokens": plan.tokens},
    }
    worst = max(errors, key=errors.get)
    shown = {k: v for k, v in result.items() if k not in ("plan", "warnings", "resumed")}
    shown |= {"least exact tensor": f"{worst} ({errors[worst]:.3g})"}
    fields("quantized", shown, on_stderr=True)
    say(args.output)
    return result


def resumes(args: argparse.Namespace) -> str | None:
    """Where an interrupted run goes on from."""
    return f"{args.output}.journal"
