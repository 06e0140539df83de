"""``lightmamba compile``; the verb's own name would hide a builtin."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.model.data import bundled_file

if TYPE_CHECKING:
    from lightmamba.arch.config import ArchConfig

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=bundled_file, metavar="FILE or SHAPE",
        help="quantized file, bundled, or a shape (mamba2-130m, granite-4.0-h-1b, ...)",
    )  # fmt: skip
    parser.add_argument(
        "--target",
        required=True,
        metavar="NAME",
        help="target: u280, vck190, kv260, ulx3s, tiny, ..., or a TOML file",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUILD",
                        help="folder to write")  # fmt: skip
    parser.add_argument(
        "--rtl",
        type=Path,
        metavar="BUILD",
        help="reuse the hardware of this build, of a model at least as large",
    )
    parser.add_argument(
        "--kinds",
        metavar="KIND,...",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        help="kinds of layers that the hardware has units for (default: those of the model)",
    )
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="tokens of a sequence that memory has room for, where layers keep something of every "
        "token (default: 1024)",
    )
    parser.add_argument(
        "--sequences",
        type=int,
        metavar="N",
        help="sequences of that many tokens that memory has room for, or more of fewer tokens "
        "(default: one more than a pass has tokens)",
    )
    parser.add_argument("--format", help="format of a SHAPE: w4a4, w4a8 or w8a8 (default: w4a4)")
    parser.add_argument("--seed", type=int, help="seed of a SHAPE's random weights (default: 0)")
    parser.add_argument("--no-verilog", action="store_true", help="write images and program only")
    parser.add_argument("--force", action="store_true", help="replace an existing build")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.arch.target import Target
    from lightmamba.cli.models import open_or_draw
    from lightmamba.cli.show import fields, progress, say
    from lightmamba.facade import compile
    from lightmamba.hardware.machine.artifact import ArtifactWriter

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


def _hardware(args: argparse.Namespace) -> "ArchConfig":
    """Build parameters of the hardware that is reused."""
    from lightmamba.common.errors import InputError
    from lightmamba.hardware.machine.artifact import Artifact

    for name in ("kinds", "context"):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} is for new hardware; leave it out with --rtl {args.rtl}")
    return Artifact.read(args.rtl).arch
