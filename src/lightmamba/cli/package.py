"""``lightmamba package``: a folder that a board's tools build."""

import argparse
import time
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("build", type=Path, metavar="BUILD", help="folder that compile made")
    parser.add_argument("--board", required=True, metavar="NAME",
                        help="kv260, u280, u55c, ulx3s or vck190")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="folder to write")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing package")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.show import fields, say, working
    from lightmamba.device.package import Board, check_output, write_package
    from lightmamba.hardware.compiler import read_build

    start = time.perf_counter()
    check_output(args.output, force=args.force)
    board, artifact = Board.load(args.board), read_build(args.build, args.board)
    with working(f"packaging for {board.name}"):
        found = write_package(artifact, board, args.output, force=args.force)
    passed = all(found.checks.values())
    result = {
        "package": str(found.path),
        "board": found.board,
        "files": list(found.files),
        "checks": dict(found.checks),
        "tools": {tool: list(versions) for tool, versions in found.tools.items()},
        "seconds": time.perf_counter() - start,
        "exit_status": 0 if passed else 1,
    }
    shown = {"board": board.about, "files": len(found.files), "seconds": result["seconds"]}
    fields("packaged", shown, on_stderr=True)
    checks = {name: "passed" if ok else "FAILED" for name, ok in found.checks.items()}
    fields("checks", checks, on_stderr=True)
    say(args.output)
    return result
