"""ECP5 through yosys and nextpnr: placed and routed, in a frame that stands for its pins."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.errors import InputError
from lightmamba.synth.absorb import absorb, name_registers
from lightmamba.synth.fanout import lift, spread
from lightmamba.synth.harness import NAME, Harness
from lightmamba.synth.result import LongestPath, cells
from lightmamba.synth.tools import find_nextpnr, find_yosys

__all__ = ["Placed", "place"]

# As `synth_ecp5`, but for this:
# - The machine is flattened late, when LUTs are to be mapped, which is much faster.
# - The device has 156 multipliers, and `synth_ecp5` would take one for each product of four bits:
#   only products of 15 bits by seven and more get them, and their pieces of five bits and more.
# - Memories are never read and written at one place in the same cycle, or what is read then is
#   not used; so nothing is added that would give the old value (-no-rw-check).
# - Narrow queues of up to 64 entries lie in LUTs, which are quicker to read than block RAM.
# - The mapping to LUTs knows that wires are not much faster than LUTs (-W, -D, in ps).
# - No pass names cells after their neighbours (autoname), which takes minutes; `name_registers`
#   names those that matter.
SCRIPT = f"""
read_verilog machine.v frame.v
read_verilog -lib -specify +/ecp5/cells_sim.v +/ecp5/cells_bb.v
hierarchy -check -top {NAME}
proc
opt_expr
opt_clean
opt -nodffe -nosdff
wreduce
peepopt
opt_clean
techmap -map +/mul2dsp.v -map +/ecp5/dsp_map.v -D DSP_A_MAXWIDTH=18 -D DSP_B_MAXWIDTH=18 \\
  -D DSP_A_MINWIDTH=5 -D DSP_B_MINWIDTH=5 -D DSP_NAME=$__MUL18X18 \\
  t:$mul r:A_WIDTH>=15 r:B_WIDTH>=15 %u %i r:A_WIDTH>=7 %i r:B_WIDTH>=7 %i
select a:mul2dsp
setattr -unset mul2dsp
opt_expr -fine
wreduce
select -clear
chtype -set $mul t:$__soft_mul
opt
memory -nomap -no-rw-check
setattr -set ram_style "distributed" t:$mem_v2 r:SIZE<=64 %i r:WIDTH<=40 %i
opt_clean
memory_libmap -lib +/ecp5/lutrams.txt -lib +/ecp5/brams.txt
techmap -map +/ecp5/lutrams_map.v -map +/ecp5/brams_map.v
synth_ecp5 -noflatten -nodsp -top {NAME} -run coarse:map_ffs
flatten
opt -fast
opt_clean
synth_ecp5 -nodsp -top {NAME} -run map_ffs:map_luts
techmap -map +/ecp5/latches_map.v
abc9 -W 300 -D 3600
clean
synth_ecp5 -nodsp -top {NAME} -run map_cells:check
blackbox =A:whitebox
write_json netlist.json
"""
LIMIT_S = 5400.0
DEVICE = ("--85k", "--speed", "6", "--package", "CABGA381")
KINDS = {
    "lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram18": "DP16KD",
}  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """A machine on an ECP5-85.

    Parameters
    ----------
    tools : str
    amount : Amount
        LUTs of four inputs, carries among them; block RAMs of 18 kbit; without the frame's own.
    available : Amount
        What the device has.
    fmax_mhz : float
        After routing.
    path : LongestPath
        After routing, with routing.
    frame : Amount
        What the frame took.
    """

    tools: str
    amount: Amount
    available: Amount
    fmax_mhz: float
    path: LongestPath
    frame: Amount

    def as_dict(self) -> dict[str, Any]:
        """Plain values, by the names of the command line."""
        return {
            **cells(self.amount),
            "path_ns": self.path.ns,
            "lut_levels": sum(step.startswith("logic") for step in self.path.cells),
            "path": list(self.path.cells),
            "fmax_mhz": self.fmax_mhz,
            "tool": self.tools,
            "available": cells(self.available),
            "frame": cells(self.frame),
            "blocks": {},
        }


def place(
    verilog: str, top: str, *, goal_mhz: float = 125.0, seed: int = 1, limit_s: float = LIMIT_S
) -> Placed:
    """Synthesize, place and route a machine for an LFE5U-85F of speed grade 6.

    Parameters
    ----------
    verilog, top
        What :func:`lightmamba.rtl.top.to_verilog` gives, and the name of its top module.
    goal_mhz
        Clock that the router aims at.
    seed
        Of the placement.
    limit_s
        Seconds that nextpnr may take: its router goes on for ever where wires are too many.

    Raises
    ------
    InputError
        If a tool is missing or fails or takes too long, or the machine does not fit.
    """
    yosys, nextpnr = find_yosys(), find_nextpnr()
    frame = Harness.of(verilog, top)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "machine.v").write_text(verilog)
        (work / "frame.v").write_text(frame.verilog)
        (work / "script.ys").write_text(SCRIPT)
        yosys.run(["-q", "-s", "script.ys"], work)
        netlist = json.loads((work / "netlist.json").read_text())
        absorb(netlist, NAME, frame.registers)
        name_registers(netlist, NAME)
        lift(netlist, NAME, "reset")
        spread(netlist, NAME)
        (work / "netlist.json").write_text(json.dumps(netlist))
        nextpnr.run(
            [
                *DEVICE, "--json", "netlist.json", "--report", "report.json", "--seed", str(seed),
                "--freq", str(goal_mhz), "--timing-allow-fail", "--quiet",
            ],
            work,
            limit_s,
        )  # fmt: skip
        report = json.loads((work / "report.json").read_text())
    return _placed(report, frame, f"{yosys.version}; {nextpnr.version}")


def _placed(report: dict[str, Any], frame: Harness, tools: str) -> Placed:
    """Read nextpnr's report."""
    used, available = (
        Amount(**{k: report["utilization"][name][which] for k, name in KINDS.items()})
        for which in ("used", "available")
    )
    own = Amount(lut=frame.lut, ff=frame.ff)
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise InputError(f"a machine has one clock, but nextpnr found {', '.join(clocks)}")
    return Placed(
        tools=tools,
        amount=used + own.times(-1),
        available=available,
        fmax_mhz=next(iter(clocks.values()))["achieved"],
        path=_path(report["critical_paths"]),
        frame=own,
    )


def _path(paths: list[dict[str, Any]]) -> LongestPath:
    """The longest path from a clock edge to a clock edge."""
    inner = [p["path"] for p in paths if not {p["from"], p["to"]} & {"<async>"}]
    slowest: list[dict[str, Any]] = max(inner, key=_delay, default=[])
    named = tuple(
        f"{step['type']} {step['delay']:.2f} ns {step['to']['cell']}.{step['to']['port']}"
        for step in slowest
    )
    return LongestPath(_delay(slowest), named)


def _delay(path: list[dict[str, Any]]) -> float:
    return sum((step["delay"] for step in path), 0.0)
