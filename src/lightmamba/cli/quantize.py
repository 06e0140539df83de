"""``lightmamba quantize``."""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightmamba.cli.show import detail, fields, progress, say, span, table
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.facade import quantization_of

if TYPE_CHECKING:
    from lightmamba.quantization import FileRun
    from lightmamba.quantization.budget import Choice

__all__ = ["run"]

COLUMNS = {
    "layer": "layer", "projection": "projection", "weight_bits": "weight bits",
    "act_bits": "activation bits", "kl_weights": "KL of weights, nats",
    "kl_activations": "KL of activations", "lane_cycles": "lane cycles",
}  # fmt: skip
SHOWN = 20  # projections with exceptions


def run(args: argparse.Namespace) -> dict[str, Any]:
    check_output(args.output, force=args.force)
    if not 0 <= args.seed < 1 << 63:
        raise InputError(f"--seed must be from 0 to 2**63 - 1, not {args.seed}; try 0")

    from lightmamba.quantization import Calibration
    from lightmamba.quantization.plan import choose_device, flops_per_second

    start = time.perf_counter()
    device = choose_device(args.torch_device)
    job = quantization_of(
        args.checkpoint, args.output, recipe=args.recipe, exceptions=args.exceptions,
        seed=args.seed, revision=args.revision,
        calibration=Calibration(
            args.calibration, args.calibration_ids, args.sequences, args.seqlen
        ),
        tokenizer=args.tokenizer, threads=args.threads, device=str(device),
    )  # fmt: skip
    with _chosen(job, args) as (job, choice):
        recipe, plan, resumed = job.recipe, job.plan, job.resumed
        plan.check(job.folder)
        expected = plan.seconds(flops_per_second(device))
        fields(f"plan: {recipe.name}", {
            "layers": job.checkpoint.config.n_layer,
            "calibration": f"{plan.tokens:,} tokens ({plan.sequences} x {plan.seqlen}), {job.kind}",
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
    return result if choice is None else result | _written(args, choice)


@contextmanager
def _chosen(
    job: "FileRun", args: argparse.Namespace
) -> Iterator[tuple["FileRun", "Choice | None"]]:
    """The run, with exceptions within the budgets, and how they were chosen, if there are any."""
    from lightmamba.quantization.budget import Budget, Ranking, choose
    from lightmamba.quantization.sensitivity import excepted

    budget = Budget(args.budget, args.act_budget)
    if not budget.names:
        yield job, None
        return
    check_output(_recipe_file(args), force=args.force)
    with Ranking(job, budget) as ranking:
        with progress("quantizing with 8 bits, and each projection by the recipe") as bar:
            ranking.quantize(bar)
        with progress("measuring the cost of each projection") as bar:
            costs = ranking.measure(bar)
        choice = choose(job.recipe, costs, budget)
        own = excepted(choice.recipe)
        chosen = [row for row in choice.rows() if (row["layer"], row["projection"]) in own]
        table(
            "exceptions, those that cost most first", list(COLUMNS.values()),
            [[row[name] for name in COLUMNS] for row in chosen[:SHOWN]],
        )  # fmt: skip
        fields("with these exceptions", {
            **{f"mean bits of {name}": f"{bits:.3f}" for name, bits in choice.bits.items()},
            "projections": f"{len(chosen)} of {len(choice.costs)} have exceptions",
            "cycles of 4-bit multipliers": f"{choice.cycles:.3f} times those without exceptions",
        }, on_stderr=True)  # fmt: skip
        yield replace(job, recipe=choice.recipe), choice


def _recipe_file(args: argparse.Namespace) -> Any:
    return args.output.with_name(f"{args.output.stem}.recipe.toml")


def _written(args: argparse.Namespace, choice: "Choice") -> dict[str, Any]:
    """Write the recipe with its exceptions; what a program reads of the choice."""
    path = _recipe_file(args)
    path.write_text(choice.recipe.to_toml(), encoding="utf-8")
    say(path)
    return {
        "recipe_file": str(path),
        "mean_bits": choice.bits,
        "cycles": choice.cycles,
        "projections": list(choice.rows()),
    }
