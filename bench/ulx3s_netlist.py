"""The netlist that is placed on a ULX3S in Verilator: tokens of the bundled model, every logit.

    python -m bench.ulx3s_netlist [--folder FOLDER] [--tokens 3]

The netlist is that of the whole system after yosys and all edits, as nextpnr reads it, without its
pads and its PLL; registers, LUTs, carries, block RAMs and multipliers are models of ECP5 cells. It
runs between the serial line and the model of the SDRAM. FOLDER is one of ``bench.ulx3s_place
--keep``; without it the system is synthesized, which takes minutes.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.stored import keep
from bench.ulx3s_place import TARGET, system
from bench.ulx3s_run import FIRST, opened
from lightmamba.compiler import open_model
from lightmamba.engine import Engine
from lightmamba.soc.ulx3s import TOP, around_netlist
from lightmamba.synth.ecp5 import synthesized
from lightmamba.synth.edit import edit
from lightmamba.synth.flow import write_flow
from lightmamba.synth.netlist import models_verilog, netlist_verilog
from lightmamba.synth.tools import find_yosys
from lightmamba.synth.unpadded import unpadded

NETLIST = "placed"  # name of its module


def edited(folder: Path) -> dict[str, Any]:
    """Synthesize the system; the netlist as nextpnr reads it."""
    flow = system()
    write_flow(flow, folder)
    netlist = synthesized(find_yosys(), flow.files, TOP, folder)
    edit(netlist, TOP, resets=flow.resets)
    return netlist


def main() -> None:
    """Simulate tokens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="files of a synthesis (none: it is made)")
    parser.add_argument("--tokens", type=int, default=3, help="(3)")
    args = parser.parse_args()
    begin = time.perf_counter()
    with ExitStack() as stack:
        if args.folder:
            netlist = json.loads((args.folder / "edited.json").read_text())
        else:
            netlist = edited(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        module = unpadded(netlist["modules"][TOP])
        netlist["modules"] = {TOP: module}
        text = netlist_verilog(netlist, TOP, name=NETLIST) + models_verilog()
        device, artifact = stack.enter_context(
            opened(4, verilog=f"{text}\n{around_netlist(NETLIST)}")
        )
        built = time.perf_counter()
        print(f"built in {built - begin:.0f} s", flush=True)
        device.load(artifact)
        engine = Engine(open_model(artifact))
        state, token, equal, logits_equal = engine.empty_state(1), FIRST, True, 0
        cycles = 0
        for n in range(args.tokens):
            device.start(token, fresh=n == 0)
            cycles += device.wait()
            logits, state = engine.step(np.array([token]), state)
            same = device.logits() == logits[0]
            equal, logits_equal = equal and bool(same.all()), logits_equal + int(same.sum())
            print(f"  token {n}: {same.sum()} of {same.size} logits equal", flush=True)
            token = int(logits[0, : engine.valid_vocab].argmax())
        seconds = time.perf_counter() - built
        row = {
            "target": TARGET,
            "what": "netlist",
            "tokens": args.tokens,
            "matches_engine": equal,
            "logits": logits_equal,
            "cycles": cycles,
            "cells": dict(sorted(Counter(c["type"] for c in module["cells"].values()).items())),
            "violations": device.board.violations,
            "seconds": {"build": built - begin, "tokens": seconds},
        }
    print(row)
    keep("ulx3s_run", row)


if __name__ == "__main__":
    main()
