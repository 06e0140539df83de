"""``lightmamba synth``: synthesize a build with open tools."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightmamba.arch.target import Resources

__all__ = ["add_arguments", "run"]

TOP = "lightmamba"  # as compile names it
FLOWS = ("xcup", "ecp5", "gowin")
CELLS = ("lut", "ff", "dsp", "bram", "uram")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("build", metavar="BUILD", help="folder that compile made")
    parser.add_argument("--flow", default=FLOWS[0],
                        help="xcup: UltraScale+, area and longest path of every block; "
                             "ecp5: an ECP5-85, gowin: a GW5AST-138, placed and routed (xcup)",
                        )  # fmt: skip
    parser.add_argument(
        "--flat",
        action="store_true",
        help="xcup: synthesize everything as one block; small designs only",
    )
    parser.add_argument("--goal", type=float, metavar="MHZ",
                        help="ecp5, gowin: clock target of the router (125)")  # fmt: skip
    parser.add_argument("--seed", type=int, help="ecp5, gowin: seed of the placement (1)")
    parser.add_argument("--cache", type=Path, help="xcup: folder for the results of blocks")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.arch.artifact import Artifact
    from lightmamba.errors import InputError

    if args.flow not in FLOWS:
        raise InputError(f"--flow must be one of {', '.join(FLOWS)}, not {args.flow}")
    if args.flow == "xcup" and (args.goal is not None or args.seed is not None):
        raise InputError("--goal and --seed are for --flow ecp5 and gowin; xcup does not place")
    if args.flow != "xcup" and (args.flat or args.cache):
        raise InputError(
            f"--flat and --cache are for --flow xcup; {args.flow} is flat, and not kept"
        )
    if args.goal is not None and not args.goal > 0:
        raise InputError(f"--goal must be above 0, not {args.goal}; try 125")
    artifact = Artifact.read(Path(args.build))
    if artifact.verilog is None:
        raise InputError(
            f"{args.build} has no Verilog to synthesize; compile it again without --no-verilog"
        )
    verilog, start = artifact.verilog.read_text(encoding="utf-8"), time.perf_counter()
    result = {"build": args.build, "flow": args.flow, "target": artifact.target.name}
    result |= _xcup(args, verilog) if args.flow == "xcup" else _placed(args, verilog)
    result["seconds"] = time.perf_counter() - start
    if not args.json:
        _show(result, artifact.target.resources if args.flow == "xcup" else None)
    return result


def _xcup(args: argparse.Namespace, verilog: str) -> dict[str, Any]:
    from lightmamba.cli.show import progress
    from lightmamba.synth import synthesize

    with progress("synthesizing blocks") as bar:
        found = synthesize(
            verilog, TOP, flat=args.flat, jobs=args.threads, cache=args.cache, progress=bar
        )
    return found.as_dict()


def _placed(args: argparse.Namespace, verilog: str) -> dict[str, Any]:
    from lightmamba.cli.show import working
    from lightmamba.synth import place, place_gowin

    run_flow, takes = {
        "ecp5": (place, "ten minutes or so"), "gowin": (place_gowin, "an hour or so")
    }[args.flow]  # fmt: skip
    goal = 125.0 if args.goal is None else args.goal
    with working(f"yosys and nextpnr ({takes})"):
        return run_flow(
            verilog, TOP, goal_mhz=goal, seed=1 if args.seed is None else args.seed
        ).as_dict()


def _show(result: dict[str, Any], device: "Resources | None") -> None:
    from dataclasses import asdict

    from lightmamba.cli.show import fields, table

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
    if untimed := result.get("untimed"):
        print(_left_out(untimed))
    print("\n".join(["longest path:", *(f"  {step}" for step in result["path"])]))


def _left_out(untimed: dict[str, Any]) -> str:
    """What the frequency leaves out, in words."""
    return (
        f"not timed: {untimed['about']}. There are {untimed['multipliers']}; "
        f"{untimed['operand_bits_behind_logic']} of {untimed['operand_bits']} operand bits come "
        f"through logic, {untimed['product_bits_into_logic']} of {untimed['product_bits']} product "
        f"bits go into logic, and that logic is not timed either."
    )
