"""ECP5 through yosys and nextpnr: placed and routed, in a frame that replaces its pins."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.hardware.synth.edit import edit
from lightmamba.hardware.synth.harness import NAME, Harness
from lightmamba.hardware.synth.placed import Placed, amount_of, clocks_of, path_of, route
from lightmamba.hardware.synth.tools import find_tool

__all__ = ["DEVICE", "OPTIONS", "place", "script", "synthesized"]

SCRIPT = Path(__file__).with_name("ecp5.ys")
LIMIT_S = 5400.0  # of a tool: the router goes on for ever where wires are too many
DEVICE = ("--85k", "--speed", "6", "--package", "CABGA381")  # as nextpnr-ecp5 names it
OPTIONS = (*DEVICE, "--json", "edited.json")
KINDS = {
    "lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram18": "DP16KD",
}  # fmt: skip


def script(files: Sequence[str], top: str) -> str:
    """Yosys' script from Verilog files to ``netlist.json``."""
    return SCRIPT.read_text().replace("@FILES@", " ".join(files)).replace("@TOP@", top)


def synthesized(
    files: Sequence[str], top: str, work: Path, limit_s: float | None = None
) -> dict[str, Any]:
    """Synthesize Verilog files of a folder; the netlist, before any edit.

    Raises
    ------
    InputError
        If yosys is missing, too old or fails, or takes too long.
    """
    (work / "script.ys").write_text(script(files, top))
    find_tool("yosys").run(["-q", "-s", "script.ys"], work, limit_s)
    netlist: dict[str, Any] = json.loads((work / "netlist.json").read_text())
    return netlist


def place(verilog: str, top: str, *, goal_mhz: float = 125.0, seed: int = 1) -> Placed:
    """Synthesize, place and route a machine for an LFE5U-85F of speed grade 6.

    Parameters
    ----------
    verilog, top
        What :func:`lightmamba.hardware.rtl.top.to_verilog` gives, and the name of its top module.
    goal_mhz
        Clock that the router aims at.
    seed
        Of the placement.

    Raises
    ------
    InputError
        If a tool is missing or fails or takes too long, or the machine does not fit.
    """
    yosys, nextpnr = find_tool("yosys"), find_tool("nextpnr-ecp5")
    frame = Harness.of(verilog, top)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "machine.v").write_text(verilog)
        (work / "frame.v").write_text(frame.verilog)
        netlist = synthesized(["machine.v", "frame.v"], NAME, work)
        edit(netlist, NAME, fixed=frame.registers, resets=["reset"], pins=False)
        (work / "edited.json").write_text(json.dumps(netlist))
        report = route(nextpnr, OPTIONS, work, LIMIT_S, goal_mhz=goal_mhz, seed=seed)
    own, (clock,) = Amount(lut=frame.lut, ff=frame.ff), clocks_of(report)
    return Placed(
        tools=f"{yosys.version}; {nextpnr.version}",
        amount=amount_of(report, KINDS, "used") + own.times(-1),
        available=amount_of(report, KINDS, "available"),
        fmax_mhz=clock.fmax_mhz,
        path=path_of(report),
        frame=own,
    )
