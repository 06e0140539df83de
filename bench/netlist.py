"""The netlist of a target's machine in Verilator, token by token against the engine.

    python -m bench.netlist [--target ulx3s] [--bundled] [--stage edited]

A stage is what is simulated: "synthesized" (what yosys wrote), "edited" (with registers moved and
copied, as nextpnr reads it) or "routed" (as nextpnr wrote it, placed in a test frame, which takes
half an hour and more). The model is a random one of two layers, or the bundled one.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.compiler import build, open_model
from lightmamba.config import mamba2_config
from lightmamba.data import demo_file
from lightmamba.errors import DeviceError
from lightmamba.machine.artifact import Artifact
from lightmamba.qmodel import QuantizedModel, load
from lightmamba.qmodel.synthetic import random_model
from lightmamba.sim import compare_logits, open_device
from lightmamba.sim.device import TOP, machine_verilog
from lightmamba.synth import models_verilog, netlist_of, netlist_verilog, place

STAGES = ("synthesized", "edited", "routed")
SMALL: dict[str, Any] = {
    "d_model": 32,
    "n_layer": 2,
    "vocab_size": 61,
    "d_state": 16,
    "headdim": 16,
}
FIRST = 1  # token that a sequence begins with


def netlist(verilog: str, stage: str, work: Path) -> tuple[dict[str, Any], str]:
    """Netlist of a machine at a stage, and its module."""
    if stage == "routed":
        place(verilog, TOP, goal_mhz=50.0, routed=work / "routed.json")
        found: dict[str, Any] = json.loads((work / "routed.json").read_text())
        return found, "top"
    return netlist_of(verilog, TOP, edits=stage == "edited"), TOP


def measure(target: Target, model: QuantizedModel, stage: str, tokens: int) -> dict[str, Any]:
    """Synthesize a machine, and run tokens on its netlist."""
    with tempfile.TemporaryDirectory() as folder:
        build(model, target, Path(folder) / "build")
        artifact = Artifact.read(Path(folder) / "build")
        begin = time.perf_counter()
        found, module = netlist(machine_verilog(artifact.arch, observed=False), stage, Path(folder))
        made = time.perf_counter()
        text = netlist_verilog(found, module, name=TOP) + models_verilog()
        device = open_device(artifact, netlist=text)
        opened = time.perf_counter()
        steps, failed = [], None
        try:
            for step in compare_logits(device, open_model(artifact), FIRST, tokens):
                steps.append(step)
                print(f"  token {step.token}: {step.cycles} cycles, equal {step.equal}", flush=True)
        except DeviceError as error:
            failed = str(error)
        done = time.perf_counter()
    cycles = sum(step.cycles for step in steps)
    kinds = Counter(cell["type"] for cell in found["modules"][module]["cells"].values())
    return {
        "matches_engine": failed is None and all(step.equal for step in steps),
        "error": failed,
        "tokens": len(steps),
        "logits": sum(step.logits for step in steps),
        "cycles": cycles,
        "cycles_per_second": cycles / (done - opened),
        "cells": dict(sorted(kinds.items())),
        "seconds": {
            "synthesis": made - begin, "simulator": opened - made, "tokens": done - opened,
        },
    }  # fmt: skip


def main() -> None:
    """Run one netlist and keep its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--target", default="ulx3s", help="shipped target or a file (ulx3s)")
    parser.add_argument("--bundled", action="store_true", help="the bundled model")
    parser.add_argument("--stage", choices=STAGES, default="edited", help="(edited)")
    parser.add_argument("--tokens", type=int, default=3, help="tokens to run (3)")
    args = parser.parse_args()
    if args.bundled:
        model, name = load(demo_file()), "demo"
    else:
        model, name = random_model(mamba2_config(**SMALL)), "random, 32 channels, 2 layers"
    target = Target.load(args.target)
    row = measure(target, model, args.stage, args.tokens)
    print(json.dumps(row, indent=1))
    keep("netlist", {"target": target.name, "model": name, "stage": args.stage, **row})
    if not row["matches_engine"]:
        raise SystemExit("the netlist differs from the engine")


if __name__ == "__main__":
    main()
