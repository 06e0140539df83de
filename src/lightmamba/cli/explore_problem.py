"""From the arguments of ``lightmamba explore`` to a problem."""

import argparse
from functools import partial
from pathlib import Path

import lightmamba.estimate
from lightmamba.arch.target import Target
from lightmamba.config import PUBLISHED, ModelConfig
from lightmamba.errors import InputError
from lightmamba.estimate.objectives import chosen
from lightmamba.explore.problem import Problem
from lightmamba.explore.scheme import SCHEMES, Scheme
from lightmamba.explore.space import Space, Value
from lightmamba.formats import Formats
from lightmamba.qmodel import load

__all__ = ["problem_of"]


def problem_of(args: argparse.Namespace) -> tuple[Problem, list[Scheme]]:
    """The problem, and the formats that are measured for accuracy only."""

    base = Target.load(args.target)
    config, formats = _model(args.model)
    if args.schemes is not None:
        names = args.schemes.split(",")
    else:
        names = list(SCHEMES) if formats is None else [_scheme_of(formats).name]
    schemes = [Scheme.parse(name) for name in dict.fromkeys(names)]
    searched = {scheme.name: scheme.formats for scheme in schemes if scheme.in_hardware}
    if not searched:
        raise InputError(
            f"{args.schemes} can be measured for accuracy only, because the hardware has blocks of "
            f"32 and groups of 128; add one that it has, for example --schemes w4a4,{names[0]}"
        )
    if formats is not None and (own := _scheme_of(formats)).name in searched:
        searched[own.name] = formats
    problem = Problem(
        name=args.model, config=config,
        space=Space.around(base, config, list(searched), _only(args.only)),
        formats=searched, objectives=chosen(args.objectives.split(",")),
        estimate=partial(lightmamba.estimate.estimate, context=args.context), context=args.context,
        ratios={}, measured_on=f"{args.checkpoint or 'bundled'}, {args.accuracy_tokens} tokens",
        fill=args.fill,
    )  # fmt: skip
    return problem, [scheme for scheme in schemes if not scheme.in_hardware]


def _model(name: str) -> tuple[ModelConfig, Formats | None]:
    """Sizes of a shape, or sizes and arithmetic of a file."""

    path = Path(name)
    if name in PUBLISHED and not path.is_file():
        return PUBLISHED[name], None
    if not path.is_file():
        raise InputError(
            f"there is no file {path}; give a quantized file, or a shape: {', '.join(PUBLISHED)}"
        )
    model = load(path)
    return model.config, model.formats


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
