"""Netlists after place and route, with the test frame taken off, against the RTL."""

import json

import pytest

from lightmamba.hardware.synth.ecp5 import OPTIONS, synthesized
from lightmamba.hardware.synth.edit import edit
from lightmamba.hardware.synth.harness import NAME, Harness
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.packed import ram_address, ram_contents, with_constants
from lightmamba.hardware.synth.placed import route
from lightmamba.hardware.synth.tools import find_nextpnr, find_yosys

from .compare import differences
from .machines import needs_nextpnr
from .test_netlist import INPUTS, SHAPES, needs_verilator


def one_clock(ports: tuple[tuple[str, int, str], ...], name: str) -> str:
    """The shapes with one clock, as the frame has."""
    lines = [f"module {name}({', '.join(port for _, _, port in ports)});"]
    lines += [f"{way} [{bits - 1}:0] {port};" for way, bits, port in ports]
    wired = ", ".join(f".{port}({port})" for _, _, port in ports)
    return "\n".join([*lines, f"shapes inner({wired}, .clk2(~clk));", "endmodule", ""])


@needs_nextpnr
@needs_verilator
@pytest.mark.slow
def test_shapes_work_as_their_rtl_after_routing(tmp_path):
    """Half a minute: yosys, nextpnr, and two netlists through the C++ compiler."""
    yosys = find_yosys()
    (tmp_path / "shapes.v").write_text(SHAPES)
    known = synthesized(yosys, ["shapes.v"], "shapes", tmp_path)["modules"]["shapes"]["ports"]
    known = {name: port for name, port in known.items() if name != "clk2"}
    ports = tuple((p["direction"], len(p["bits"]), name) for name, p in known.items())
    frame = Harness("framed", ports)
    (tmp_path / "machine.v").write_text(SHAPES + one_clock(ports, "framed"))
    (tmp_path / "frame.v").write_text(frame.verilog)
    netlist = synthesized(yosys, ["machine.v", "frame.v"], NAME, tmp_path)
    edit(netlist, NAME, fixed=frame.registers, resets=["reset"], pins=False)
    (tmp_path / "edited.json").write_text(json.dumps(netlist))
    options = [*OPTIONS, "--write", "routed.json"]
    route(find_nextpnr(), options, tmp_path, 600, goal_mhz=50, seed=1)
    edited = netlist["modules"][NAME]
    routed = json.loads((tmp_path / "routed.json").read_text())["modules"]["top"]
    kinds = {(c["type"], c["parameters"].get("MODE")) for c in routed["cells"].values()}
    assert {("TRELLIS_COMB", mode) for mode in ("CCU2", "DPRAM", "RAMW_BLOCK", None)} <= kinds
    nets = {
        name: netlist_verilog({"modules": {"x": frame.opened(edited, module)}}, "x", name=name)
        for name, module in (("edited", edited), ("routed", routed))
    }
    rtl = SHAPES + one_clock(ports, "rtl") + models_verilog()
    (tmp_path / "compared").mkdir()
    found = differences(tmp_path / "compared", rtl, nets, known, INPUTS)
    assert {name: set(outputs) for name, outputs in found.items()} == {
        "edited": {"collide"}, "routed": {"collide"},
    }  # fmt: skip


def test_contents_of_a_ram_bit_are_by_its_address():
    """Bit n of the parameter is that of the inputs A to D; A is the highest bit of an address."""
    assert ram_address(dict(zip("ABCD", "abcd", strict=True))) == "{a, c, b, d}"
    for index, address in ((1, 8), (2, 2), (4, 4), (8, 1), (9, 9)):
        cell = {"type": "TRELLIS_COMB", "parameters": {"INITVAL": f"{1 << index:016b}"}}
        assert ram_contents(cell) == 1 << address


def test_cells_that_are_constants_become_constants():
    def comb(table: int, **pins: list[int]) -> dict[str, object]:
        return {
            "type": "TRELLIS_COMB", "parameters": {"INITVAL": f"{table:016b}"}, "connections": pins
        }  # fmt: skip

    cells = {
        "low": comb(0, F=[2]), "high": comb(0xFFFF, F=[3]), "lut": comb(0, A=[2], B=[3], F=[4]),
    }  # fmt: skip
    ports = {"o": {"direction": "output", "bits": [3, 4]}}
    found = with_constants({"cells": cells, "ports": ports})
    assert set(found["cells"]) == {"lut"}
    assert found["cells"]["lut"]["connections"] == {"A": ["0"], "B": ["1"], "F": [4]}
    assert found["ports"]["o"]["bits"] == ["1", 4]
