"""``lightmamba program``: the bitstream of a package onto the board that is plugged in."""

import argparse
import time
from typing import Any

from lightmamba.cli.show import fields, say, working
from lightmamba.device.package import program

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    with working("writing the flash memory" if args.flash else "loading the bitstream"):
        file = program(args.package, flash=args.flash)
    result = {
        "bitstream": str(file),
        "bytes": file.stat().st_size,
        "flash": args.flash,
        "seconds": time.perf_counter() - start,
    }
    shown = {name: result[name] for name in ("bytes", "flash", "seconds")}
    fields("programmed", shown, on_stderr=True)
    say(file)
    return result
