"""A netlist of the system on a ULX3S in Verilator: tokens of the bundled model, every logit.

    python -m bench.ulx3s_netlist [--folder FOLDER [--seed 1]] [--tokens 3]

The netlist is that of the whole system after yosys and all edits, as nextpnr reads it; with a seed
it is the one that nextpnr wrote after place and route, whose cells are those of the bitstream. It
comes without its pads and its PLL; registers, LUTs, carries, block RAMs, multipliers and registers
at the pins are models of ECP5 cells. It runs between the serial line and the model of the SDRAM.
FOLDER is one of ``bench.ulx3s_place --keep``; without it the system is synthesized, which takes
minutes.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bench.stored import keep
from bench.ulx3s_place import TARGET, system
from bench.ulx3s_run import FIRST, opened
from lightmamba.device.sim import compare_logits
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.soc.board import TOP
from lightmamba.hardware.soc.ulx3s import around_netlist
from lightmamba.hardware.synth.board import prepared
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.unpadded import unpadded

NETLIST = "placed"  # name of its module
ROUTED = "top"  # nextpnr's name of the module


def main() -> None:
    """Simulate tokens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="files of a synthesis (none: it is made)")
    parser.add_argument("--tokens", type=int, default=3, help="(3)")
    parser.add_argument("--seed", type=int, help="of a routed netlist in FOLDER (none)")
    args = parser.parse_args()
    if args.seed is not None and not args.folder:
        parser.error("--seed needs --folder, made by: python -m bench.ulx3s_place --keep FOLDER")
    file, top = ("edited.json", TOP) if args.seed is None else (f"routed-{args.seed}.json", ROUTED)
    begin = time.perf_counter()
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not args.folder:
            prepared(system(), folder)
        module = unpadded(json.loads((folder / file).read_text())["modules"][top])
        netlist = {"modules": {TOP: module}}
        text = netlist_verilog(netlist, TOP, name=NETLIST) + models_verilog()
        device, artifact = stack.enter_context(
            opened(4, verilog=f"{text}\n{around_netlist(NETLIST)}")
        )
        built = time.perf_counter()
        print(f"built in {built - begin:.0f} s", flush=True)
        device.load(artifact)
        steps = []
        for step in compare_logits(device, open_model(artifact), FIRST, args.tokens):
            steps.append(step)
            print(f"  token {step.token}: {step.cycles} cycles, equal {step.equal}", flush=True)
        seconds = time.perf_counter() - built
        row = {
            "target": TARGET,
            "what": "netlist" if args.seed is None else "routed netlist",
            "seed": args.seed,
            "tokens": len(steps),
            "matches_engine": all(step.equal for step in steps),
            "logits": sum(step.logits - len(step.different) for step in steps),
            "cycles": sum(step.cycles for step in steps),
            "cells": dict(sorted(Counter(c["type"] for c in module["cells"].values()).items())),
            "violations": device.board.violations,
            "seconds": {"build": built - begin, "tokens": seconds},
        }
    print(row)
    keep("ulx3s_run", row)


if __name__ == "__main__":
    main()
