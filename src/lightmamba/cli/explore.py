"""``lightmamba explore``: search accelerator configurations for one model and one board."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Target
from lightmamba.cli.models import open_sizes, short_name
from lightmamba.cli.options import at_least
from lightmamba.cli.show import detail, progress, say, span, table
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_folder, code_hash
from lightmamba.common.store import Store
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.objectives import OBJECTIVES, chosen
from lightmamba.hardware.estimate.resources import resources
from lightmamba.model.data import demo_checkpoint
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.explore.files import FRONT, PICTURE, STUDY, describe, write
from lightmamba.study.explore.problem import Problem, Verdict
from lightmamba.study.explore.scheme import SCHEMES, Scheme
from lightmamba.study.explore.space import Space, Value
from lightmamba.study.explore.study import Search, Tried, remember
from lightmamba.study.plots.front import front_figure
from lightmamba.study.plots.style import png

__all__ = ["run"]

SHORT = {  # what a column is called, and how a figure is written
    "tokens_per_second": ("tok/s", "{:,.1f}"),
    "prefill_tokens_per_second": ("prefill", "{:,.1f}"),
    "batch_tokens_per_second": ("batch", "{:,.1f}"),
    "device_share": ("share", "{:.1%}"),
    "tokens_per_joule": ("tok/J", "{:.3g}"),
    "perplexity_ratio": ("ppl x", "{:.3f}"),
}

CHOOSING = 0.1  # seconds in which a configuration is chosen, about


def run(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    at_least(args, trials=(1, 300), seed=(0, 0), accuracy_tokens=(256, 8208))
    check_folder(args.out, (FRONT, STUDY), "front", "--out")
    problem, others = _problem(args)
    begin = time.perf_counter()
    problem, left_out, of_base = problem.possible()
    each = (time.perf_counter() - begin) / len(of_base)
    for scheme, reason in left_out.items():
        detail(f"{scheme} is left out: {reason}")
    problem, measured = _separated(problem, others)
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
            search.run(args.trials, bar)
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


def _study(args: argparse.Namespace) -> Path:
    """File that keeps the search."""
    return Path(args.out / STUDY if args.study is None else args.study)


def _problem(args: argparse.Namespace) -> tuple[Problem, list[Scheme]]:
    """The problem, and the formats that are measured for accuracy only."""
    base = Target.load(args.target)
    config, formats, file = open_sizes(args.model, None)
    if args.schemes is not None:
        names = args.schemes.split(",")
    else:
        names = list(SCHEMES) if file is None else [_scheme_of(formats).name]
    schemes = [Scheme.parse(name) for name in dict.fromkeys(names)]
    searched = {scheme.name: scheme.formats for scheme in schemes if scheme.in_hardware}
    if not searched:
        raise InputError(
            f"{args.schemes} can be measured for accuracy only, because the hardware has blocks of "
            f"32 and groups of 128; add one that it has, for example --schemes w4a4,{names[0]}"
        )
    if file is not None and (own := _scheme_of(formats)).name in searched:
        searched[own.name] = formats
    problem = Problem(
        name=short_name(args.model), config=config,
        space=Space.around(base, config, list(searched), _only(args.only)),
        formats=searched, objectives=chosen(args.objectives.split(",")),
        estimate=lambda work, area: estimate_pass(work, area=area), area=resources,
        context=args.context, ratios={}, fill=args.fill,
        measured_on=f"{_measured(args.checkpoint)}, {args.accuracy_tokens} tokens",
    )  # fmt: skip
    return problem, [scheme for scheme in schemes if not scheme.in_hardware]


def _measured(checkpoint: str | None) -> str:
    """Name of the checkpoint of the accuracy, with a hash of its files."""
    if checkpoint is None:
        return "bundled"
    from lightmamba.study.sweep.sources import Entry, Sources  # takes a while

    files = Sources(Path()).model(Entry(checkpoint)).hashes
    return f"{checkpoint} ({sha256(repr(files).encode()).hexdigest()[:8]})"


def _scheme_of(formats: Formats) -> Scheme:
    try:
        return Scheme(formats.weight_bits, formats.act_bits, formats.block, formats.group)
    except ValueError as error:
        raise InputError(f"no scheme describes this file: {error}") from error


def _only(given: list[str]) -> dict[str, tuple[Value, ...]]:
    """Values of choices, as ``--only`` gives them."""
    found: dict[str, tuple[Value, ...]] = {}
    for text in given:
        name, _, values = text.partition("=")
        kind = float if name == "clock_mhz" else int
        try:
            found[name] = tuple(sorted({kind(value) for value in values.split(",")}))
        except ValueError:
            raise InputError(
                f"--only takes a choice and numbers, such as lanes=8,16, not {text!r}"
            ) from None
    return found


def _separated(problem: Problem, others: list[Scheme]) -> tuple[Problem, list[Scheme]]:
    """The problem with accuracy as an objective only if it separates; the schemes to measure."""
    searched = [Scheme.parse(str(name)) for name in problem.space.options["scheme"]]
    if OBJECTIVES["accuracy"] not in problem.objectives:
        return problem, others
    if len(searched) > 1:
        return problem, [*searched, *others]
    left = tuple(o for o in problem.objectives if o is not OBJECTIVES["accuracy"])
    alike = f"all configurations are {searched[0].name} and equally accurate, so"
    if len(left) < 2:
        raise InputError(
            f"{alike} that {left[0].label} alone is left; add an objective, such as --objectives "
            f"speed,size, or a scheme, such as --schemes w4a4,w4a8"
        )
    detail(f"{alike} accuracy is no objective; --schemes compares several")
    return replace(problem, objectives=left), [*searched, *others] if others else []


def _tell(args: argparse.Namespace, search: Search, each: float) -> None:
    """Say before the search how long it takes, and how to go on with it."""
    left = args.trials - len(search.trials)
    if left <= 0:
        return
    seconds = left * (each + CHOOSING)
    detail(
        f"{left:,} configurations to estimate, about {span(seconds)}; after Ctrl+C, the same "
        f"command resumes from {_study(args)}"
    )


def _accuracy(
    args: argparse.Namespace, problem: Problem, schemes: list[Scheme], study: Store
) -> dict[str, Any]:
    """Measured ratio of each scheme, which the study keeps."""
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


def _measure(args: argparse.Namespace, scheme: Scheme) -> dict[str, Any]:
    from lightmamba.study.explore.accuracy import measure

    with progress(f"accuracy of {scheme.name}") as bar:
        return measure(
            scheme, args.checkpoint or demo_checkpoint(), tokens=args.accuracy_tokens,
            threads=args.threads, progress=bar,
        )  # fmt: skip


def _base(problem: Problem, verdicts: Mapping[str, Verdict]) -> dict[str, Any] | None:
    """The base target's own figures, in the first scheme in which it fits."""
    for scheme, verdict in verdicts.items():
        if problem.feasible(verdict):
            candidate = problem.space.candidate(problem.space.of_base(scheme))
            return describe(Tried(candidate, verdict), "base")
    return None


def _show(content: Mapping[str, Any], problem: Problem) -> None:
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
