"""``lightmamba report``: one self-contained page."""

import argparse
import platform
import shlex
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from lightmamba.arch.target import Target
from lightmamba.cli.models import open_or_draw, open_sizes
from lightmamba.cli.options import at_least
from lightmamba.cli.show import fields, say, working
from lightmamba.cli.simulate import simulated
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.device.sim import Simulation, open_golden
from lightmamba.facade import compile
from lightmamba.hardware.compiler import plan, read_build, sizes
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.machine.artifact import MANIFEST
from lightmamba.model.config import PUBLISHED
from lightmamba.model.data import bundled_checkpoint
from lightmamba.study.report import Made, Report, Subject, missing, paper, render
from lightmamba.study.report.contents import Outliers
from lightmamba.study.report.read import read_results

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    check_output(args.output, force=args.force)
    at_least(args, simulate=(1, 4))
    subject = _subject(args)
    stored = read_results(args.results, subject)
    if args.simulate:
        stored["simulation"] = _simulate(args, subject)
    with working("estimating"):
        found = estimate(
            subject.config, subject.formats, subject.target, subject.order,
            context=subject.arch.context or None,
        )  # fmt: skip
    report = Report(subject, _made(args), paper(), found, **stored)
    if args.checkpoint:
        report = replace(report, outliers=_outliers(args))
    page = render(report)
    args.output.write_text(page, encoding="utf-8")
    lacking, simulation = missing(report), report.simulation
    result: dict[str, Any] = {
        "output": str(args.output),
        "bytes": len(page.encode()),
        "missing": lacking,
        "tokens_per_second": report.estimate.tokens_per_second,
        "simulated_tokens_per_second": simulation and simulation.tokens_per_second,
    }
    shown = {**result, "missing": ", ".join(lacking) or "nothing"}
    fields("report", shown, on_stderr=True)
    say(args.output)
    if simulation is not None and not simulation.matches_engine:
        print(f"hardware and engine differ: {simulation.difference}", file=sys.stderr)
        result["exit_status"] = 1
    return result


def _subject(args: argparse.Namespace) -> Subject:
    """Model and accelerator."""
    path = Path(args.model)
    if (path / MANIFEST).is_file():
        given = {"--target": args.target, "--format": args.format}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{path} is a build, which has its own; leave {wrong[0]} out")
        artifact = read_build(path)
        config, formats = sizes(artifact.model)
        shapes = [shape for shape, known in PUBLISHED.items() if known == config]
        name = shapes[0] if shapes else path.resolve().name
        return Subject(name, config, formats, artifact.target, artifact.arch, artifact.order)
    if args.target is None:
        raise InputError(f"{args.model} is not a build, so a target is needed: --target u280")
    target = Target.load(args.target)
    config, formats, _ = open_sizes(args.model, args.format)
    name = args.model if not path.is_file() else path.stem
    return Subject(name, config, formats, target, plan(config, formats, target))


def _simulate(args: argparse.Namespace, subject: Subject) -> Simulation:
    """Simulate some tokens on a build, or on one made for them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.model)
        with working("building the accelerator and its simulator (minutes, the first time)"):
            if not (path / MANIFEST).is_file():
                model, path = open_or_draw(args.model, args.format), Path(folder) / "build"
                compile(model, subject.target, path, verilog=False)
            opened = open_golden(path, cache=args.cache)
        return simulated(opened, [0], args.simulate, chain=args.simulate, watch=True)[0]


def _outliers(args: argparse.Namespace) -> Outliers:
    """Ranges of a float checkpoint, before and after the rotations."""
    import torch

    from lightmamba.model.checkpoint import load_checkpoint
    from lightmamba.study.report.measure import measure_outliers

    torch.set_num_threads(args.threads)
    source = bundled_checkpoint(args.checkpoint)
    name = Path(source).name if source == args.checkpoint else "the bundled checkpoint"
    with working("ranges of the checkpoint before and after rotation"):
        return measure_outliers(load_checkpoint(source), name)


def _made(args: argparse.Namespace) -> Made:
    """Date, versions, and the command as it was given."""
    words = ["lightmamba", "report", args.model]
    for flag in ("target", "format", "simulate", "checkpoint"):
        if (value := getattr(args, flag)) is not None:
            words += [f"--{flag}", str(value)]
    words += ["-o", args.output.name]
    if args.results:
        words += ["--results", *map(str, args.results)]
    versions = {
        "lightmamba": metadata.version("lightmamba"),
        "Python": platform.python_version(),
        "numpy": np.__version__,
    }
    return Made(datetime.now(UTC).strftime("%Y-%m-%d"), shlex.join(words), versions)
