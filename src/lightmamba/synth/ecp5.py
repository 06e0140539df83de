"""ECP5 through yosys and nextpnr: placed and routed, in a frame that replaces its pins."""

import json
import tempfile
from pathlib import Path

from lightmamba.arch.amount import Amount
from lightmamba.synth.absorb import absorb, name_registers
from lightmamba.synth.fanout import lift, spread
from lightmamba.synth.harness import NAME, Harness
from lightmamba.synth.placed import Placed, amount_of, fmax_of, path_of, route
from lightmamba.synth.tools import find_nextpnr, find_yosys

__all__ = ["place"]

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
OPTIONS = ("--85k", "--speed", "6", "--package", "CABGA381", "--json", "netlist.json")
KINDS = {
    "lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram18": "DP16KD",
}  # fmt: skip


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
        report = route(nextpnr, OPTIONS, work, limit_s, goal_mhz=goal_mhz, seed=seed)
    own = Amount(lut=frame.lut, ff=frame.ff)
    return Placed(
        tools=f"{yosys.version}; {nextpnr.version}",
        amount=amount_of(report, KINDS, "used") + own.times(-1),
        available=amount_of(report, KINDS, "available"),
        fmax_mhz=fmax_of(report),
        path=path_of(report),
        frame=own,
    )
