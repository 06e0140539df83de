"""The whole system on a ULX3S through yosys, nextpnr-ecp5 and ecppack, for several seeds.

    python -m bench.ulx3s_place [--model bundled bundled-hybrid] [--seed 1 2 3] [--keep FOLDER]

The system of a bundled model is synthesized once; each seed is placed and routed, and its bitstream
packed, unpacked, and packed again, and its bits compared with the routed netlist. One to two hours
of processor time for each model. A seed is not placed again if the netlist, the constraints and the
tools are those of its row: the result is the same. ``--keep`` has a folder for each model.
"""

import argparse
import hashlib
import json
import tempfile
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.package.bitstream import Counts, Fixed, database, differences

from bench.identity import combined, synthesized
from bench.stored import MADE, Row, keep, rows
from lightmamba.arch.target import Target
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.device.package.ecp5 import flow
from lightmamba.device.sim.device import verilog_of
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.soc.board import TOP
from lightmamba.hardware.synth.board import Flow, prepared, routed
from lightmamba.hardware.synth.tools import find_tool
from lightmamba.model.data import BUNDLED, HYBRID, bundled_file
from lightmamba.model.qmodel import load

NAME, TARGET, MODELS = "ulx3s_place", "ulx3s", (BUNDLED, HYBRID)
FREQ = "62.0"  # MHz of the configuration, as the pin file has it


def compiled(model: str, folder: Path) -> Artifact:
    """Build of a bundled model for the board, in a folder."""
    build(load(Path(bundled_file(model))), Target.load(TARGET), folder / "build")
    return Artifact.read(folder / "build")


def system(model: str) -> Flow:
    """Verilog and pins of the system for a model."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = compiled(model, Path(folder))
        return flow(design(artifact, Board.load(TARGET)), verilog_of(artifact))


def identity(row: Row) -> str:
    """Hash of what a row measured."""
    return synthesized(system_hash(row["model"]), *tools(), run=row["seed"])


@cache
def system_hash(model: str) -> str:
    """Hash of the Verilog, the pins and the options of the system."""
    made = system(model)
    return combined(made.verilog, made.lpf, made.route)


def tools() -> list[str]:
    """Versions of the programs that make a bitstream."""
    return [find_tool(name).version for name in ("yosys", "nextpnr-ecp5", "ecppack")]


def placed(made: Flow, folder: Path) -> dict[str, Any]:
    """Place and route the netlist of a folder, and pack it twice."""
    begin = time.perf_counter()
    found = routed(made, folder, netlist=f"routed-{made.seed}.json")
    return {
        "tool": found.tools,
        "clocks": {c.name: [c.fmax_mhz, c.constraint_mhz] for c in found.clocks},
        "between_ns": {f"{a} to {b}": ns for (a, b), ns in found.between_ns.items()},
        "bytes": found.path.stat().st_size,
        "seed": made.seed,
        "met": all(clock.met for clock in found.clocks),
        "cells": {name: [many, found.available[name]] for name, many in found.used.items()},
        "same_when_packed_again": same_again(folder),
        "bits": compared(folder, f"routed-{made.seed}.json"),
        "seconds": {"place and route": time.perf_counter() - begin},
    }


def placed_from(made: Flow, folder: Path) -> str:
    """Hash of all that a placement depends on, but its seed."""
    found = hashlib.sha256((folder / "edited.json").read_bytes())
    router = find_tool("nextpnr-ecp5").version
    found.update(f"{made.lpf} {made.route} {router}".encode())
    return found.hexdigest()[:16]


def known(netlist: str, seed: int) -> Row | None:
    """Row of this netlist and seed, if there is one."""
    found = (row for row in rows(NAME) if (row["seed"], row.get("netlist")) == (seed, netlist))
    return next(({name: row[name] for name in row if name != MADE} for row in found), None)


def place(model: str, seeds: list[int], folder: Path, again: bool) -> None:
    """Synthesize the system of a model, then place and route each seed, and keep the rows."""
    made, begin = system(model), time.perf_counter()
    edits = prepared(made, folder)
    seconds = time.perf_counter() - begin
    print(f"{model}: synthesized in {seconds:.0f} s; edits {edits}", flush=True)
    netlist = placed_from(made, folder)
    for seed in seeds:
        if row := None if again else known(netlist, seed):
            print(f"seed {seed}: the netlist is that of the row, {netlist}", flush=True)
        else:
            row = {"model": model} | placed(replace(made, seed=seed), folder)
            row |= {"netlist": netlist, "seconds": {"synthesis": seconds} | row["seconds"]}
        keep(NAME, row)


def compared(folder: Path, netlist: str) -> dict[str, int]:
    """Numbers of what the bits and the routed netlist say, if it is the same.

    Raises
    ------
    SystemExit
        With the first difference.
    """
    module = json.loads((folder / netlist).read_text())["modules"]["top"]
    counts, text = Counts(), (folder / f"{TOP}.config").read_text()
    if first := next(differences(text, module, Fixed(database()), counts), None):
        raise SystemExit(f"the bitstream is not the netlist: {first}")
    return asdict(counts)


def same_again(folder: Path) -> bool:
    """Whether the bitstream, unpacked and packed again, is the same, byte for byte.

    The clock of configuration is not in the text, so it is given again.
    """
    find_tool("ecpunpack").run([f"{TOP}.bit", "again.config"], folder)
    find_tool("ecppack").run(["--compress", "--freq", FREQ, "again.config", "again.bit"], folder)
    return (folder / "again.bit").read_bytes() == (folder / f"{TOP}.bit").read_bytes()


def main() -> None:
    """Synthesize, then place and route each seed of each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="(both)")
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2, 3], help="(1 2 3)")
    parser.add_argument("--keep", type=Path, help="folder that keeps all files")
    args = parser.parse_args()
    for model in args.model:
        with tempfile.TemporaryDirectory() as temporary:
            folder = args.keep / model if args.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            place(model, args.seed, folder, again=bool(args.keep))


if __name__ == "__main__":
    main()
