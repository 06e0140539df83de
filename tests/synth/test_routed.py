"""Netlists after place and route against the RTL."""

import json
import re

import pytest

from lightmamba.hardware.synth.ecp5 import OPTIONS, synthesized
from lightmamba.hardware.synth.edit import edit
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog, with_constants
from lightmamba.hardware.synth.placed import route
from lightmamba.hardware.synth.tools import find_tool
from tests.support.tools import needs_nextpnr, needs_verilator, needs_yosys

from .compare import differences
from .test_netlist import INPUTS, RTL, SHAPES


@needs_nextpnr
@needs_verilator
@pytest.mark.slow
def test_shapes_work_as_their_rtl_after_routing(tmp_path):
    """Half a minute: yosys, nextpnr, and two netlists through the C++ compiler."""
    (tmp_path / "shapes.v").write_text(SHAPES)
    netlist = synthesized(["shapes.v"], "shapes", tmp_path)
    ports = netlist["modules"]["shapes"]["ports"]
    edit(netlist, "shapes", pins=False)
    (tmp_path / "edited.json").write_text(json.dumps(netlist))
    options = [*OPTIONS, "--out-of-context", "--write", "routed.json"]
    route(find_tool("nextpnr-ecp5"), options, tmp_path, 600, goal_mhz=50, seed=1)
    routed = json.loads((tmp_path / "routed.json").read_text())
    top = routed["modules"]["top"]
    for name, port in top["ports"].items():  # without its pad, a constant output has any net
        both = zip(ports[name]["bits"], port["bits"], strict=True)
        port["bits"] = [bit if isinstance(bit, str) else its for bit, its in both]
    cells = top["cells"].values()
    kinds = {(c["type"], c["parameters"].get("MODE")) for c in cells}
    assert {("TRELLIS_COMB", mode) for mode in ("CCU2", "DPRAM", "RAMW_BLOCK", None)} <= kinds
    nets = {"routed": netlist_verilog(routed, "top", name="routed")}
    (tmp_path / "compared").mkdir()
    found = differences(tmp_path / "compared", RTL + models_verilog(), nets, ports, INPUTS)
    assert set(found["routed"]) == {"collide"}


def comb(table: int, **more: object) -> dict[str, object]:
    pins = {pin: [bit] for pin, bit in more.items() if pin != "MODE"}
    said = {"INITVAL": f"{table:016b}"} | ({"MODE": more["MODE"]} if "MODE" in more else {})
    return {"type": "TRELLIS_COMB", "parameters": said, "connections": pins}


@needs_yosys
def test_contents_of_a_ram_bit_are_by_its_address():
    """Bit n of the parameter is that of the inputs A to D; A is the highest bit of an address."""
    for index, address in ((1, 8), (2, 2), (4, 4), (8, 1), (9, 9)):
        pins = {"A": 2, "B": 3, "C": 4, "D": 5, "WCK": 6, "WD": 7, "WRE": "1", "F": 8}
        pins |= {f"WAD{n}": 9 + n for n in range(4)}
        ports = {
            "i": {"direction": "input", "bits": [2, 3, 4, 5, 6, 7, 9, 10, 11, 12]},
            "o": {"direction": "output", "bits": [8]},
        }
        module = {
            "ports": ports,
            "netnames": {},
            "cells": {"ram": comb(1 << index, MODE="DPRAM", **pins)},
        }
        text = netlist_verilog({"modules": {"top": module}}, "top")
        assert re.findall(r"\[(\d+)\] = 1'h1;", text) == [str(address)]


def test_cells_that_are_constants_become_constants():
    cells = {"low": comb(0, F=2), "high": comb(0xFFFF, F=3), "lut": comb(0, A=2, B=3, F=4)}
    ports = {"o": {"direction": "output", "bits": [3, 4]}}
    found = with_constants({"cells": cells, "ports": ports})
    assert set(found["cells"]) == {"lut"}
    assert found["cells"]["lut"]["connections"] == {"A": ["0"], "B": ["1"], "F": [4]}
    assert found["ports"]["o"]["bits"] == ["1", 4]
