"""``lightmamba program``: the bitstream of a package onto the board that is plugged in."""

import argparse
import time
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, metavar="DIR",
                        help="folder that package made for ulx3s, after make")  # fmt: skip
    parser.add_argument("--flash", action="store_true",
                        help="write it to the board's flash memory")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.show import fields, say, working
    from lightmamba.device.package import program

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
