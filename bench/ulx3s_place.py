"""The whole system on a ULX3S through yosys, nextpnr-ecp5 and ecppack, for several seeds.

    python -m bench.ulx3s_place [--seed 1 2 3] [--keep FOLDER]

The system is that of the bundled model, synthesized once; each seed is placed and routed, and its
bitstream packed, unpacked, and packed again. An hour of processor time.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.compiler.plan import plan
from lightmamba.data import demo_file
from lightmamba.machine.artifact import build_hash
from lightmamba.machine.serial import Identity
from lightmamba.qmodel import load
from lightmamba.sim.device import machine_verilog
from lightmamba.soc.system import RESET
from lightmamba.soc.ulx3s import INSIDE, OSCILLATOR_MHZ, TOP, to_verilog
from lightmamba.synth.board import between_of, clocks_of
from lightmamba.synth.ecp5 import LIMIT_S, synthesized
from lightmamba.synth.edit import edit
from lightmamba.synth.flow import SLOW_MHZ, Flow, write_flow
from lightmamba.synth.placed import route
from lightmamba.synth.tools import find_ecppack, find_ecpunpack, find_nextpnr, find_yosys

TARGET, MEMORY_MHZ = "ulx3s", 100.0
FREQ = "62.0"  # MHz of the configuration, as the pin file has it
PINS = Path(__file__).parents[1] / "src/lightmamba/package/boards/ulx3s/pins-3.0.lpf"


def system() -> Flow:
    """Verilog and pins of the system for the bundled model."""
    model, target = load(demo_file()), Target.load(TARGET)
    arch = plan(model.config, model.formats, target)
    identity = Identity(
        build_hash(arch), round(target.clock_mhz * 1e6), round(MEMORY_MHZ * 1e6)
    )  # fmt: skip
    verilog = {
        "soc.v": to_verilog(arch.port_bits, identity),
        "lightmamba.v": machine_verilog(arch, observed=False),
    }
    clocks = {"clk_25mhz": OSCILLATOR_MHZ}
    return Flow(TOP, verilog, PINS.read_text(), clocks, resets=(f"{INSIDE}.system.{RESET}",))


def placed(flow: Flow, seed: int, folder: Path) -> dict[str, Any]:
    """Place and route the netlist of a folder, and pack it twice."""
    nextpnr, ecppack = find_nextpnr(), find_ecppack()
    begin = time.perf_counter()
    report = route(nextpnr, flow.route, folder, LIMIT_S, goal_mhz=SLOW_MHZ, seed=seed)
    routed = time.perf_counter()
    ecppack.run(flow.pack, folder)
    clocks = {clock.name: clock for clock in clocks_of(report)}
    return {
        "target": TARGET,
        "seed": seed,
        "clocks": {n: [c.fmax_mhz, c.constraint_mhz] for n, c in clocks.items()},
        "met": all(clock.met for clock in clocks.values()),
        "between_ns": {f"{a} to {b}": ns for (a, b), ns in between_of(report).items()},
        "cells": {
            name: [many["used"], many["available"]]
            for name, many in report["utilization"].items()
            if many["used"]
        },
        "bytes": (folder / f"{TOP}.bit").stat().st_size,
        "same_when_packed_again": same_again(folder),
        "seconds": {"place and route": routed - begin},
        "tool": f"{nextpnr.version}; {ecppack.version}",
    }


def same_again(folder: Path) -> bool:
    """Whether the bitstream, unpacked and packed again, is the same, byte for byte.

    The clock of configuration is not in the text, so it is given again.
    """
    find_ecpunpack().run([f"{TOP}.bit", "again.config"], folder)
    find_ecppack().run(["--compress", "--freq", FREQ, "again.config", "again.bit"], folder)
    return (folder / "again.bit").read_bytes() == (folder / f"{TOP}.bit").read_bytes()


def main() -> None:
    """Synthesize, then place and route each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2, 3], help="(1 2 3)")
    parser.add_argument("--keep", type=Path, help="folder that keeps all files of the last seed")
    args = parser.parse_args()
    yosys, flow = find_yosys(), system()
    with ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        begin = time.perf_counter()
        write_flow(flow, folder)
        netlist = synthesized(yosys, flow.files, TOP, folder)
        edits = edit(netlist, TOP, resets=flow.resets)
        (folder / "edited.json").write_text(json.dumps(netlist))
        seconds = time.perf_counter() - begin
        print(f"synthesized in {seconds:.0f} s; edits {edits}", flush=True)
        for seed in args.seed:
            row = placed(flow, seed, folder)
            row["seconds"] = {"synthesis": seconds} | row["seconds"]
            row["tool"] = f"{yosys.version}; {row['tool']}"
            print(json.dumps(row, indent=1), flush=True)
            keep("ulx3s_place", row)


if __name__ == "__main__":
    main()
