"""Verilog of a netlist for ECP5, to simulate it.

Reads what yosys' ``write_json`` and nextpnr's ``--write`` give, which is what the bitstream is made
of. yosys writes the text: registers and logic by its models of the cells, or by ours in
``cells/logic.v`` where it has none that fits. Block RAMs and multipliers, of which it has none, are
instances of the models in the folder ``cells``.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.primitives import Cell, block_ram, check, flag, multiplier, number
from lightmamba.hardware.synth.tools import find_tool

__all__ = ["models_verilog", "netlist_verilog", "with_constants"]

CELLS = Path(__file__).parent / "cells"
INSTANCES = {"DP16KD": "dp16kd.v", "MULT18X18D": "mult18x18d.v"}
LOGIC = "logic.v"
FRESH = 1 << 30  # number of the first bit that a netlist does not have
SCRIPT = f"""
read_verilog +/ecp5/cells_sim.v
read_verilog -overwrite -icells {LOGIC}
read_verilog -overwrite -lib {" ".join(INSTANCES.values())}
read_json netlist.json
hierarchy -check -top top
rename top @NAME@
proc
flatten
memory_collect
opt_expr
setundef -undriven -@UNKNOWN@
setundef -@UNKNOWN@
opt_clean -purge
write_verilog -noattr netlist.v
"""
KINDS = {  # of cells, with the parameters that their models know
    "LUT4": ("INIT",),
    "PFUMX": (),
    "L6MUX21": (),
    "DCCA": (),
    "TRELLIS_RAMW": (),
    "CCU2C": ("INIT0", "INIT1", "INJECT1_0", "INJECT1_1"),
    "TRELLIS_FF": ("CEMUX", "CLKMUX", "LSRMUX", "SRMODE", "REGSET"),
    "TRELLIS_DPR16X4": ("WCKMUX", "WREMUX", "INITVAL"),
    "TRELLIS_COMB": ("MODE", "INITVAL", "CCU2_INJECT1", "WREMUX", "WCKMUX"),
    "IOLOGIC": ("OUTREG.REGSET", "TSREG.REGSET", "FF.REGSET"),
}


def models_verilog() -> str:
    """Models of the cells that are instances."""
    return "".join((CELLS / name).read_text() for name in INSTANCES.values())


def netlist_verilog(
    netlist: Mapping[str, Any],
    top: str,
    *,
    name: str = "",
    unknown: int = 0,
) -> str:
    """Write a netlist as Verilog for a simulator, without :func:`models_verilog`.

    Parameters
    ----------
    netlist
        What yosys' ``write_json`` or nextpnr's ``--write`` gives.
    top
        A flat module in it.
    name
        Name that it gets; by default its own.
    unknown
        Value of bits that are unknown or that nothing drives; a right netlist works with either.

    Raises
    ------
    InputError
        If a cell has no model, or is used in a way that its model does not have, or there is no
        yosys.
    """
    module = with_constants(netlist["modules"][top])
    for port, about in module["ports"].items():
        if about["direction"] == "inout":
            raise InputError(
                f"the port {port} of {top} is an inout, which a netlist cannot be simulated with; "
                "take the buffers of pins out"
            )
    check(module)
    fresh = count(FRESH)
    cells = {
        place: _modelled(place, cell, fresh)
        for place, cell in module["cells"].items()
        if cell["type"] != "$scopeinfo" and flag(cell, "MODE", "") != "RAMW_BLOCK"
    }
    plain = {"ports": module["ports"], "cells": cells, "netnames": {}}
    script = SCRIPT.replace("@NAME@", name or top)
    script = script.replace("@UNKNOWN@", "one" if unknown else "zero")
    yosys = find_tool("yosys")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for file in (LOGIC, *INSTANCES.values()):
            (work / file).write_text((CELLS / file).read_text())
        (work / "netlist.json").write_text(json.dumps({"modules": {"top": plain}}))
        (work / "script.ys").write_text(script)
        yosys.run(["-q", "-s", "script.ys"], work)
        return (work / "netlist.v").read_text()


def with_constants(module: Mapping[str, Any]) -> dict[str, Any]:
    """The module with constants where nextpnr's cells without inputs give them."""
    constants: dict[Any, str] = {}
    kept = {}
    for name, cell in module["cells"].items():
        pins = cell["connections"]
        table = number(cell, "INITVAL") if cell["type"] == "TRELLIS_COMB" else -1
        alone = not any(pins.get(pin) for pin in ("A", "B", "C", "D", "F1", "FXA", "FXB"))
        if table in (0, 0xFFFF) and alone and flag(cell, "MODE", "LOGIC") == "LOGIC":
            constants |= dict.fromkeys(pins.get("F") or [], "1" if table else "0")
        else:
            kept[name] = cell

    def known(pins: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {pin: [constants.get(bit, bit) for bit in bits] for pin, bits in pins.items()}

    cells = {
        name: cell | {"connections": known(cell["connections"])} for name, cell in kept.items()
    }
    ports = {name: port | known({"bits": port["bits"]}) for name, port in module["ports"].items()}
    return {**module, "cells": cells, "ports": ports}


def _modelled(place: str, cell: Cell, fresh: Iterator[int]) -> Cell:
    """A cell with the pins and parameters of its model; ``fresh`` numbers outputs that are open."""
    kind, pins = cell["type"], {pin: bits for pin, bits in cell["connections"].items() if bits}
    if kind == "MULT18X18D":
        return _cell(kind, *multiplier(cell, fresh))
    if kind == "DP16KD":
        return _cell(kind, *block_ram(cell, fresh))
    if kind not in KINDS:
        raise InputError(f"there is no model of the cell {kind} ({place}) to simulate")
    said = {
        name: value if set(value) - set("01x") else value.replace("x", "0")
        for name, value in cell["parameters"].items()
        if name in KINDS[kind]
    }
    if kind == "TRELLIS_FF":
        pins = {"CE": ["1"], "LSR": ["0"]} | pins
        if flag(cell, "SD", "1") == "0":  # past the LUT
            pins["DI"] = pins["M"]
    if kind == "TRELLIS_COMB":
        said["IS_Z1"] = f"{int('FXA' in pins or 'FXB' in pins):b}"
    return _cell(kind, said, pins)


def _cell(kind: str, parameters: Mapping[str, Any], pins: Mapping[str, list[Any]]) -> Cell:
    return {"type": kind, "parameters": parameters, "attributes": {}, "connections": pins}
