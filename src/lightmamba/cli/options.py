"""The options that every verb has."""

import argparse
import os

from lightmamba.common.errors import InputError

__all__ = ["add_common", "at_least"]


def at_least(args: argparse.Namespace, **limits: tuple[int, int]) -> None:
    """Refuse numbers that are too small; ``limits`` has the least one, and one that is right."""
    for name, (least, right) in limits.items():
        if (value := getattr(args, name)) is not None and value < least:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be at least {least}, not {value}; try {right}")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, ``--threads``, ``--quiet`` and ``--verbose``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="CPU threads to use (default: all cores)",
    )
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument(
        "-q", "--quiet", action="store_true", help="results and errors only: no notes, no progress"
    )
    loud.add_argument(
        "-v", "--verbose", action="store_true",
        help="tell what is loaded, which kernels run and how long it takes, on stderr",
    )  # fmt: skip
