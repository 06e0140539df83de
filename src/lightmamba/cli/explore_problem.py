"""From the arguments of ``lightmamba explore`` to a problem."""

import argparse
from collections.abc import Mapping
from dataclasses import replace

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.cli.models import open_sizes, short_name
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate import Estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.objectives import OBJECTIVES, chosen
from lightmamba.hardware.estimate.resources import resources
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.explore.problem import Problem
from lightmamba.study.explore.scheme import SCHEMES, Scheme
from lightmamba.study.explore.space import Space, Value

__all__ = ["estimated", "problem_of", "without_accuracy"]


def estimated(work: Workload, area: Mapping[str, Amount]) -> Estimate:
    """A pass of a workload."""
    return estimate_pass(work, area=area)


def problem_of(args: argparse.Namespace) -> tuple[Problem, list[Scheme]]:
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
        estimate=estimated, area=resources, context=args.context, ratios={},
        measured_on=f"{args.checkpoint or 'bundled'}, {args.accuracy_tokens} tokens",
        fill=args.fill,
    )  # fmt: skip
    return problem, [scheme for scheme in schemes if not scheme.in_hardware]


def without_accuracy(problem: Problem) -> Problem:
    """The problem without the accuracy as an objective: all its configurations have the same.

    Raises
    ------
    InputError
        If one objective alone is left.
    """
    left = tuple(o for o in problem.objectives if o is not OBJECTIVES["accuracy"])
    if len(left) < 2:
        (scheme,) = problem.space.options["scheme"]
        raise InputError(
            f"all configurations are {scheme} and equally accurate, so that {left[0].label} alone "
            f"is left; add an objective, such as --objectives speed,size, or a scheme, such as "
            f"--schemes w4a4,w4a8"
        )
    return replace(problem, objectives=left)


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
