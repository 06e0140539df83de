"""``lightmamba synth``: synthesize a build with open tools."""

import argparse
import time
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Resources
from lightmamba.cli.arguments import FLOWS
from lightmamba.cli.results import check_results, keep_result
from lightmamba.cli.show import fields, progress, say, table, working
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler import read_build
from lightmamba.hardware.synth import place, synthesize

__all__ = ["run"]

TOP = "lightmamba"  # as compile names it
CELLS = ("lut", "ff", "dsp", "bram", "uram")


def run(args: argparse.Namespace) -> dict[str, Any]:

    if args.flow not in FLOWS:
        raise InputError(f"--flow must be one of {', '.join(FLOWS)}, not {args.flow}")
    if args.flow == "xcup" and (args.goal is not None or args.seed is not None):
        raise InputError("--goal and --seed are for --flow ecp5; xcup does not place")
    if args.flow != "xcup" and (args.flat or args.cache):
        raise InputError(
            "--flat and --cache are for --flow xcup; ecp5 is flat, and its result is not cached"
        )
    if args.goal is not None and not args.goal > 0:
        raise InputError(f"--goal must be above 0, not {args.goal}; try 125")
    artifact = read_build(Path(args.build))
    if artifact.verilog is None:
        raise InputError(
            f"{args.build} has no Verilog to synthesize; compile it again without --no-verilog"
        )
    check_results(args.results)
    verilog, start = artifact.verilog.read_text(encoding="utf-8"), time.perf_counter()
    result = {"build": str(args.build), "flow": args.flow, "target": artifact.target.name}
    result |= _xcup(args, verilog) if args.flow == "xcup" else _placed(args, verilog)
    result["seconds"] = time.perf_counter() - start
    digest = sha256(verilog.encode()).hexdigest()
    of = {"target": artifact.target.name, "flow": args.flow, "Verilog": digest}
    keep_result(args.results, "synthesis", of, result, "synthesized")
    device = artifact.target.resources if args.flow == "xcup" else None
    # Shares are of a device whose LUTs are those that were counted.
    _show(result, device if device is None or device.lut_scale == 1 else None)
    return result


def _xcup(args: argparse.Namespace, verilog: str) -> dict[str, Any]:
    with progress("synthesizing blocks") as bar:
        found = synthesize(
            verilog, TOP, flat=args.flat, jobs=args.threads, cache=args.cache, progress=bar
        )
    return found.as_dict()


def _placed(args: argparse.Namespace, verilog: str) -> dict[str, Any]:
    goal = 125.0 if args.goal is None else args.goal
    with working("yosys and nextpnr (90 minutes at most)"):
        return place(
            verilog, TOP, goal_mhz=goal, seed=1 if args.seed is None else args.seed
        ).as_dict()


def _show(result: dict[str, Any], device: Resources | None) -> None:
    rows = [
        (f"{name} x {block['count']}" if block["count"] > 1 else name,
         *(block[cell] * block["count"] for cell in CELLS),
         block["path_ns"], block["lut_levels"], block["carry4"])
        for name, block in sorted(
            result["blocks"].items(), key=lambda item: -item[1]["lut"] * item[1]["count"]
        )
    ]  # fmt: skip
    if rows:
        table(
            "blocks (equal ones summed); longest path of each in ns, LUTs and carries",
            ("", *CELLS, "ns", "levels", "CARRY4"), rows,
        )  # fmt: skip
    has = result.get("available", {})
    if device is not None:
        has = {name.removesuffix("18"): n for name, n in asdict(device).items()}
    table(
        "total", ("", "cells", "% of the device"),
        [(cell, result[cell], 100 * result[cell] / has[cell] if has.get(cell) else None)
         for cell in CELLS],
    )  # fmt: skip
    fields("speed", {key: result[key] for key in ("path_ns", "lut_levels", "fmax_mhz")})
    say("\n".join(["longest path:", *(f"  {step}" for step in result["path"])]))
