"""``lightmamba bench``."""

import argparse
import time
from dataclasses import asdict
from typing import Any

from lightmamba.cli.devices import SIMULATED, open_decoder, read_model
from lightmamba.cli.models import short_name
from lightmamba.cli.show import progress, speed, table
from lightmamba.text.greedy import speed_of

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    decoder = open_decoder(read_model(args), args)
    simulated = args.device in SIMULATED
    clock = (lambda: decoder.seconds) if simulated else time.perf_counter
    with progress(f"timing {short_name(args.file)}") as bar:
        found = speed_of(decoder, prompt=args.prompt, tokens=args.tokens, repeats=args.repeats,
                         clock=clock, progress=bar)  # fmt: skip
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
