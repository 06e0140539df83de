"""GW5AST-138 through yosys and nextpnr: placed and routed, in a frame that stands for its pins."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.errors import InputError
from lightmamba.synth.absorb import name_registers
from lightmamba.synth.fanout import spread
from lightmamba.synth.gowin_netlist import FAMILY, count, timed, untimed
from lightmamba.synth.harness import NAME, Harness
from lightmamba.synth.placed import Placed, Unrouted, amount_of, fmax_of, path_of, route
from lightmamba.synth.result import cells
from lightmamba.synth.tools import Tool, find_gowin, find_yosys

__all__ = ["MAP", "PRODUCTS", "place"]

MAP = Path(__file__).with_name("gowin_dsp.v")

# yosys infers no multipliers of this family. Products of seven bits and more by seven and more get
# them, 12 x 12 (two in a block) where both factors have 11 bits or fewer, else 27 x 18; wider ones
# are cut. All others are LUTs.
PRODUCTS = f"""
techmap -map +/mul2dsp.v -D DSP_A_MAXWIDTH=12 -D DSP_B_MAXWIDTH=12 -D DSP_SIGNEDONLY \\
  -D DSP_NAME=$__MUL12X12 \\
  t:$mul r:A_WIDTH<=11 %i r:B_WIDTH<=11 %i r:A_WIDTH>=7 %i r:B_WIDTH>=7 %i
techmap -map +/mul2dsp.v -D DSP_A_MAXWIDTH=27 -D DSP_B_MAXWIDTH=18 -D DSP_SIGNEDONLY \\
  -D DSP_A_MINWIDTH=5 -D DSP_B_MINWIDTH=5 -D DSP_NAME=$__MUL27X18 \\
  t:$mul r:A_WIDTH>=7 %i r:B_WIDTH>=7 %i
select a:mul2dsp
setattr -unset mul2dsp
opt_expr -fine
wreduce
select -clear
techmap -map {MAP.name}
chtype -set $mul t:$__soft_mul
"""
# Otherwise as `synth_gowin`, with the departures that ecp5.py has and explains.
SCRIPT = f"""
read_verilog machine.v frame.v
read_verilog -lib -specify +/gowin/cells_sim.v +/gowin/cells_xtra_gw5a.v
hierarchy -check -top {NAME}
proc
opt_expr
opt_clean
opt -nodffe -nosdff
wreduce
peepopt
opt_clean
{PRODUCTS}
opt
memory -nomap -no-rw-check
setattr -set ram_style "distributed" t:$mem_v2 r:SIZE<=64 %i r:WIDTH<=40 %i
opt_clean
synth_gowin -family gw5a -noflatten -nodsp -no-rw-check -noiopads -top {NAME} -run coarse:map_ffs
flatten
opt -fast
opt_clean
iopadmap -bits -inpad IBUF O:I -outpad OBUF I:O
synth_gowin -family gw5a -nodsp -top {NAME} -run map_ffs:map_luts
read_verilog -icells -lib -specify +/abc9_model.v
abc9 -maxlut 8 -W 500
clean
techmap -map +/gowin/cells_map.v
opt_lut_ins -tech gowin
clean
hierarchy -check
blackbox =A:whitebox
write_json netlist.json
"""
LIMIT_S = 10800.0
DEVICE = "GW5AST-LV138PG484AC1/I0"
# Any four pins; nextpnr wants a place for each.
PINS = "".join(
    f'IO_LOC "{port}" {pin};\n'
    for port, pin in (("clk", "V22"), ("rst", "AA19"), ("i", "AB18"), ("o", "AA20"))
)
OPTIONS = ("--device", DEVICE, "--vopt", "cst=pins.cst", "--json", "netlist.json")
KINDS = {"lut": "LUT4", "ff": "DFF", "dsp": "MULTALU27X18", "bram18": "BSRAM"}


def place(
    verilog: str, top: str, *, goal_mhz: float = 125.0, seed: int = 1, limit_s: float = LIMIT_S
) -> Placed:
    """Synthesize, place and route an accelerator for a GW5AST-LV138 of speed grade C1/I0.

    Parameters
    ----------
    verilog, top
        What :func:`lightmamba.rtl.top.to_verilog` gives, and the name of its top module.
    goal_mhz
        Clock that the placer and the router aim at.
    seed
        Of the placement.
    limit_s
        Seconds that nextpnr may take.

    Raises
    ------
    InputError
        If a tool is missing, or yosys fails.
    Unrouted
        If nextpnr fails or takes too long, or the accelerator does not fit.
    """
    yosys, nextpnr = find_yosys(gowin=True), find_gowin()
    frame = Harness.of(verilog, top)
    own = Amount(lut=frame.lut, ff=frame.ff)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        module = synthesize(verilog, frame, yosys, work)
        used, left_out, through = count(module), untimed(module), timed(module)
        used += own.times(-1)
        write(module, work)
        try:
            report = route(nextpnr, OPTIONS, work, limit_s, goal_mhz=goal_mhz, seed=seed)
        except InputError as error:
            found = cells(used) | {"lut_through": through}
            raise Unrouted(f"{error}; it has {_words(found)}", found) from error
    return Placed(
        tools=f"{yosys.version}; {nextpnr.version}",
        amount=used,
        available=amount_of(report, KINDS, "available"),
        fmax_mhz=fmax_of(report),
        path=path_of(report),
        frame=own,
        through=through,
        untimed=left_out,
    )


def _words(found: Mapping[str, int]) -> str:
    """Cells in words."""
    return (
        f"{found['lut']:,} LUTs and {found['lut_through']:,} that lead to flip-flops, "
        f"{found['ff']:,} flip-flops, {found['dsp']} multiplier blocks, {found['bram']} block RAMs"
    )


def synthesize(verilog: str, frame: Harness, yosys: Tool, work: Path) -> dict[str, Any]:
    """Run yosys in a folder; the flat module, with wide registers copied."""
    (work / "machine.v").write_text(verilog)
    (work / "frame.v").write_text(frame.verilog)
    (work / MAP.name).write_text(MAP.read_text())
    (work / "script.ys").write_text(SCRIPT)
    yosys.run(["-q", "-s", "script.ys"], work)
    netlist = json.loads((work / "netlist.json").read_text())
    name_registers(netlist, NAME, FAMILY.registers)
    spread(netlist, NAME, family=FAMILY)
    module: dict[str, Any] = netlist["modules"][NAME]
    return module


def write(module: dict[str, Any], work: Path) -> None:
    """Write what :data:`OPTIONS` name."""
    (work / "netlist.json").write_text(json.dumps({"modules": {NAME: module}}))
    (work / "pins.cst").write_text(PINS)
