"""``lightmamba package``: a folder that a board's tools build."""

import argparse
import time
from typing import Any

from lightmamba.cli.show import fields, say, working
from lightmamba.device.package import Board, check_output, write_package
from lightmamba.hardware.compiler import read_build

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
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
