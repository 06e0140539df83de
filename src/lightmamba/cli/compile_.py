"""``lightmamba compile``; the verb's own name would hide a builtin."""

import argparse
import time
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.cli.models import open_or_draw
from lightmamba.cli.show import fields, progress, say
from lightmamba.common.errors import InputError
from lightmamba.facade import compile
from lightmamba.hardware.machine.artifact import Artifact, ArtifactWriter

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    ArtifactWriter.check(args.output, force=args.force)
    target = Target.load(args.target)
    model = open_or_draw(args.model, args.format, args.seed)
    hardware = None if args.rtl is None else _hardware(args)
    with progress(f"compiling for {target.name}") as bar:
        artifact = compile(
            model, target, args.output, verilog=not args.no_verilog, force=args.force,
            kinds=args.kinds or (), context=args.context, sequences=args.sequences,
            hardware=hardware, progress=bar,
        )  # fmt: skip
    result = {
        "build": str(args.output),
        "target": target.name,
        "lanes": artifact.arch.lanes,
        "image_bytes": artifact.image_bytes,
        "instructions": len(artifact.program()),
        "verilog_bytes": 0 if artifact.verilog is None else artifact.verilog.stat().st_size,
        "seconds": time.perf_counter() - start,
    }
    fields("compiled", result, on_stderr=True)
    say(args.output)
    return result


def _hardware(args: argparse.Namespace) -> ArchConfig:
    """Build parameters of the hardware that is reused."""
    for name in ("kinds", "context"):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} is for new hardware; leave it out with --rtl {args.rtl}")
    return Artifact.read(args.rtl).arch
