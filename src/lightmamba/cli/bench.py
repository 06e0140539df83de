"""``lightmamba bench``."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.devices import SIMULATED, add_device

if TYPE_CHECKING:
    from lightmamba.cli.models import Opened

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE or BUILD",
                        help="quantized model, bundled, hub id, or a build")  # fmt: skip
    parser.add_argument("--prompt", type=int, default=512, metavar="N",
                        help="tokens of the prompt (default: 512)")  # fmt: skip
    parser.add_argument("--tokens", type=int, default=128, metavar="N",
                        help="tokens to generate (default: 128)")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, metavar="N",
                        help="measurements, after one that does not count (default: 5)",
                        )  # fmt: skip
    add_device(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from lightmamba.cli.devices import check_device_flags
    from lightmamba.cli.models import short_name
    from lightmamba.cli.show import progress, speed, table
    from lightmamba.text.greedy import speed_of

    check_device_flags(args)
    decoder = _opened(args).model
    simulated = args.device in SIMULATED
    clock = (lambda: decoder.seconds) if simulated else time.perf_counter
    with progress(f"timing {short_name(args.file)}") as bar:
        found = speed_of(decoder, prompt=args.prompt, tokens=args.tokens, repeats=args.repeats,
                         clock=clock, progress=bar)  # fmt: skip
    if not args.json:
        rows = [
            (f"{what}, {count} tokens", speed(rate.median), speed(rate.low), speed(rate.high))
            for what, count, rate in (
                ("prompt", args.prompt, found.prompt),
                ("generation", args.tokens, found.generation),
            )
        ]
        place = f"the engine, {args.threads} thread{'s' * (args.threads > 1)}"
        if args.device != "engine":
            place = f"{args.device}{', by the clock of the hardware' * simulated}"
        title = f"{short_name(args.file)} on {place}: tokens per second, {args.repeats} times"
        table(title, ("", "median", "lowest", "highest"), rows)
    return {
        "model": args.file, "device": args.device, "threads": args.threads,
        "repeats": args.repeats, "prompt_tokens": args.prompt, "generated_tokens": args.tokens,
        **asdict(found),
    }  # fmt: skip


def _opened(args: argparse.Namespace) -> "Opened":
    """The model on the engine, or on the device that the flags name."""
    from lightmamba.cli.devices import open_build
    from lightmamba.cli.hub import quantized_file
    from lightmamba.cli.models import open_engine
    from lightmamba.hardware.compiler import open_model
    from lightmamba.hardware.machine.artifact import MANIFEST, Artifact

    file = quantized_file(args.file, args.threads, args.device)
    if args.device == "engine" and not (Path(file) / MANIFEST).is_file():
        return open_engine(file, args.threads)
    artifact = Artifact.read(Path(file))
    return open_build(artifact, open_model(artifact), args)
