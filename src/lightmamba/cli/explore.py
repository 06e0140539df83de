"""``lightmamba explore``: search accelerator configurations for one model and one board."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.options import at_least
from lightmamba.model.data import bundled_file

if TYPE_CHECKING:
    from lightmamba.common.store import Store
    from lightmamba.study.explore.problem import Problem, Verdict
    from lightmamba.study.explore.scheme import Scheme
    from lightmamba.study.explore.study import Search

__all__ = ["add_arguments", "resumes", "run"]

SHORT = {  # what a column is called, and how a figure is written
    "tokens_per_second": ("tok/s", "{:,.1f}"),
    "prefill_tokens_per_second": ("prefill", "{:,.1f}"),
    "batch_tokens_per_second": ("batch", "{:,.1f}"),
    "device_share": ("share", "{:.1%}"),
    "tokens_per_joule": ("tok/J", "{:.3g}"),
    "perplexity_ratio": ("ppl x", "{:.3f}"),
}

CHOOSING = 0.1  # seconds in which a configuration is chosen, about


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=bundled_file, metavar="FILE or SHAPE",
                        help="quantized file, or a shape (mamba2-130m, granite-4.0-h-1b, ...)",
                        )  # fmt: skip
    parser.add_argument(
        "--target",
        required=True,
        metavar="NAME",
        help="target whose memories and device stay fixed; or a TOML file",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to create")
    parser.add_argument(
        "--trials", type=int, default=300, help="configurations to try in total (default: 300)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the search (default: 0)")
    parser.add_argument(
        "--study",
        type=Path,
        metavar="FILE",
        help="file that saves the search; the same command resumes it (default: DIR/study.jsonl)",
    )
    parser.add_argument("--objectives", default="speed,size,energy,accuracy", metavar="A,B",
                        help="two or more of speed, prefill, batch, size, energy, accuracy "
                        "(default: speed,size,energy,accuracy)")  # fmt: skip
    parser.add_argument(
        "--schemes",
        metavar="A,B",
        help="w4a4,w4a8,w8a8 for a SHAPE, its own for a FILE; names with -blockN or "
        "-groupN, such as w4a4-block16, are measured for accuracy only",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME=A,B",
                        help="restrict one choice, such as lanes=8,16; repeatable")  # fmt: skip
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="tokens already in each sequence, for attention layers (default: 1024)",
    )
    parser.add_argument(
        "--fill", type=float, default=1.0, help="largest share of the device to use (default: 1.0)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT",
        help="checkpoint to measure accuracy on (default: the bundled model)",
    )
    parser.add_argument(
        "--accuracy-tokens",
        type=int,
        default=8208,
        help="tokens of held-out text to measure on (default: 8208)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.explore_problem import problem_of
    from lightmamba.cli.show import detail, progress, say
    from lightmamba.common.store import Store
    from lightmamba.study.explore.files import FRONT, PICTURE, STUDY, write
    from lightmamba.study.explore.study import Search
    from lightmamba.study.folders import check_folder
    from lightmamba.study.plots.front import front_figure
    from lightmamba.study.plots.style import png

    start = time.perf_counter()
    at_least(args, trials=(1, 300), seed=(0, 0), accuracy_tokens=(256, 8208))
    check_folder(args.out, (FRONT, STUDY), "front", "--out")
    problem, others = problem_of(args)
    begin = time.perf_counter()
    problem, left_out, of_base = problem.possible()
    each = (time.perf_counter() - begin) / len(of_base)
    for scheme, reason in left_out.items():
        detail(f"{scheme} is left out: {reason}")
    problem, measured = _separated(args, problem, others)
    base = _base(problem, of_base)
    if args.study is None:
        args.out.mkdir(exist_ok=True)
    with Store(_study(args), "--study") as study:
        accuracy = _accuracy(args, problem, measured, study)
        ratios = {name: found["ratio"] for name, found in accuracy.items()}
        problem = replace(problem, ratios=ratios)
        search = Search(problem, study, seed=args.seed)
        _tell(args, search, each)
        with progress("searching") as bar:
            search.run(args.trials, bar, threads=args.threads)
        if base is not None and base["scheme"] in ratios:
            base["perplexity_ratio"] = ratios[base["scheme"]]
        more = {**search.counts(), "base": base, "accuracy": accuracy,
                "left_out": left_out, "seed": args.seed}  # fmt: skip
        content = write(search, args.out, more)
    points = {point["name"]: point for point in content["points"]}
    title = (
        f"{content['model']} on the board of {content['base_target']}, estimated: {len(points)} of "
        f"{content['fitting']} configurations that fit are Pareto-optimal"
    )
    png(front_figure(content, title=title), args.out / PICTURE)
    _show(content, problem)
    say(args.out)
    return {
        "out": str(args.out),
        **more,
        "points": len(points),
        "best": {key: points[name] for key, name in content["best"].items()},
        "seconds": time.perf_counter() - start,
    }


def resumes(args: argparse.Namespace) -> str | None:
    """Where an interrupted run goes on from."""
    return str(_study(args))


def _study(args: argparse.Namespace) -> Path:
    """File that keeps the search."""
    from lightmamba.study.explore.files import STUDY

    return Path(args.out / STUDY if args.study is None else args.study)


def _separated(
    args: argparse.Namespace, problem: "Problem", others: "list[Scheme]"
) -> "tuple[Problem, list[Scheme]]":
    """The problem with accuracy as an objective only if it separates; the schemes to measure."""
    from lightmamba.cli.explore_problem import without_accuracy
    from lightmamba.cli.show import detail
    from lightmamba.hardware.estimate.objectives import OBJECTIVES
    from lightmamba.study.explore.scheme import Scheme

    searched = [Scheme.parse(str(name)) for name in problem.space.options["scheme"]]
    if OBJECTIVES["accuracy"] not in problem.objectives:
        return problem, others
    if len(searched) > 1:
        return problem, [*searched, *others]
    problem = without_accuracy(problem)
    if not args.json:
        detail(
            f"all configurations are {searched[0].name} and equally accurate, so accuracy is no "
            f"objective; --schemes compares several"
        )
    return problem, [*searched, *others] if others else []


def _tell(args: argparse.Namespace, search: "Search", each: float) -> None:
    """Say before the search how long it takes, and how to go on with it."""
    from lightmamba.cli.show import detail, span
    from lightmamba.study.explore.study import BATCH

    left = args.trials - len(search.trials)
    if left <= 0:
        return
    seconds = left * (each / min(args.threads, BATCH) + CHOOSING)
    detail(
        f"{left:,} configurations to estimate, about {span(seconds)}; after Ctrl+C, the same "
        f"command resumes from {_study(args)}"
    )


def _accuracy(
    args: argparse.Namespace, problem: "Problem", schemes: "list[Scheme]", study: "Store"
) -> dict[str, Any]:
    """Measured ratio of each scheme, which the study keeps."""
    from lightmamba.common.files import code_hash
    from lightmamba.study.explore.study import remember

    return {
        scheme.name: {
            **remember(
                study,
                {"accuracy of": scheme.name, "on": problem.measured_on, "code": code_hash()},
                partial(_measure, args, scheme),
            ),
            "accuracy_only": not scheme.in_hardware,
        }
        for scheme in schemes
    }


def _measure(args: argparse.Namespace, scheme: "Scheme") -> dict[str, Any]:
    from lightmamba.cli.show import progress
    from lightmamba.model.data import demo_checkpoint
    from lightmamba.study.explore.accuracy import measure

    with progress(f"accuracy of {scheme.name}") as bar:
        return measure(
            scheme, args.checkpoint or demo_checkpoint(), tokens=args.accuracy_tokens,
            threads=args.threads, progress=bar,
        )  # fmt: skip


def _base(problem: "Problem", verdicts: "Mapping[str, Verdict]") -> dict[str, Any] | None:
    """The base target's own figures, in the first scheme in which it fits."""
    from lightmamba.study.explore.files import describe
    from lightmamba.study.explore.study import Tried

    for scheme, verdict in verdicts.items():
        if problem.feasible(verdict):
            candidate = problem.space.candidate(problem.space.of_base(scheme))
            return describe(Tried(candidate, verdict), "base")
    return None


def _show(content: Mapping[str, Any], problem: "Problem") -> None:
    from lightmamba.cli.show import detail, table

    if accuracy := content["accuracy"]:
        rows: list[tuple[object, ...]] = [
            (name, one["ratio"], one["standard_error"], one["kl"],
             "no: accuracy only" if one["accuracy_only"] else "yes")
            for name, one in accuracy.items()
        ]  # fmt: skip
        table(
            f"perplexity, {problem.measured_on}",
            ("", "x float", "±", "KL, nats", "in hardware"),
            rows,
            on_stderr=True,
        )
    points = {point["name"]: point for point in content["points"]}
    best = content["best"]
    titles: dict[str, list[str]] = {}
    for objective in problem.objectives:
        titles.setdefault(best[objective.key], []).append(objective.best)
    shown = {f"{name} {', '.join(of)}": points[name] for name, of in titles.items()}
    if content["base"]:
        shown = {"target as shipped": content["base"], **shown}
    rows = [
        (what, one["scheme"], one["clock_mhz"], one["machine"]["tokens"],
         f"{one['machine']['lanes']}x{one['machine']['port_bits']}",
         *(SHORT[o.key][1].format(one[o.key]) for o in problem.objectives))
        for what, one in shown.items()
    ]  # fmt: skip
    figures = [SHORT[o.key][0] for o in problem.objectives]
    table("estimated", ("", "scheme", "MHz", "tokens", "lanes", *figures), rows, on_stderr=True)
    detail(
        f"{content['trials']:,} trials: {content['machines']:,} configurations, "
        f"{content['fitting']:,} fit, {len(points):,} are Pareto-optimal"
    )
