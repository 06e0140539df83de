"""``lightmamba quantize``."""

import argparse
import resource
import time
from typing import Any

from lightmamba.cli.show import detail, fields, progress, say, span
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.facade import quantization_of

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    check_output(args.output, force=args.force)
    if not 0 <= args.seed < 1 << 63:
        raise InputError(f"--seed must be from 0 to 2**63 - 1, not {args.seed}; try 0")

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
        origin = job.run(force=args.force, progress=bar)
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
