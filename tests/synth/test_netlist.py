"""Models of the cells of an ECP5, and the edits of netlists, against the RTL."""

import copy
from pathlib import Path
from typing import Any

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth import absorb
from lightmamba.hardware.synth.ecp5 import synthesized
from lightmamba.hardware.synth.edit import edit
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from tests.support.tools import needs_verilator, needs_yosys

from .compare import differences

SHAPES = Path(__file__).with_name("shapes.v").read_text()
RTL = SHAPES.replace("module shapes (", "module rtl (")
# Most addresses are among few; reads avoid what is written in the same cycle. Extremes are likely.
INPUTS = """
  ce <= $urandom; re <= $urandom; we <= $urandom; rst <= $urandom % 8 == 0;
  first = $urandom & ($urandom % 4 ? 14'h1f : 14'h3fff);
  second = $urandom & ($urandom % 4 ? 14'h1f : 14'h3fff);
  wa <= first;
  ra <= first[3:0] == second[3:0] ? second ^ 1 : second;
  d <= $urandom % 8 == 0 ? {72{1'b1}} : $urandom % 8 == 0 ? {1'b1, 53'b0, 1'b1, 17'b0} :
    {$urandom, $urandom, $urandom};
"""


def _changed(netlist: dict[str, Any], change: Any) -> dict[str, Any]:
    other = copy.deepcopy(netlist)
    change(other["modules"]["shapes"]["cells"])
    return other


def _cells(cells: dict[str, Any], kind: str, *, of: str = "", **parameters: str) -> list[Any]:
    """Cells of a kind with these parameters, within the instance ``of``."""
    return [
        cell
        for name, cell in cells.items()
        if cell["type"] == kind
        and name.startswith(of)
        and parameters.items() <= cell["parameters"].items()
    ]


def _unreset(cells: dict[str, Any]) -> None:
    """As the edits once left it: what an open pin does is the device's choice."""
    for cell in _cells(cells, "MULT18X18D"):
        cell["connections"].pop("RST0", None)


def _unregistered(cells: dict[str, Any]) -> None:
    cell = _cells(cells, "MULT18X18D", REG_OUTPUT_CLK="CLK0")[0]
    del cell["parameters"]["REG_OUTPUT_CLK"]


def _earlier(cells: dict[str, Any]) -> None:
    for cell in _cells(cells, "DP16KD", REGMODE_A="OUTREG", REGMODE_B="OUTREG"):
        cell["parameters"] |= {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}


def _swapped(cells: dict[str, Any]) -> None:
    """A carry that goes another way."""
    cell = _cells(cells, "CCU2C")[3]
    cell["parameters"]["INIT1"] = cell["parameters"]["INIT1"][::-1]


FAULTS = {
    "unreset": _unreset, "unregistered": _unregistered, "earlier": _earlier, "swapped": _swapped,
}  # fmt: skip


def _edited(netlist: dict[str, Any]) -> dict[str, Any]:
    other = copy.deepcopy(netlist)
    edit(other, "shapes", pins=False)
    return other


@pytest.fixture(scope="module")
def netlist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Netlist that yosys makes of the shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "shapes.v").write_text(SHAPES)
    return synthesized(["shapes.v"], "shapes", folder)


@needs_yosys
@needs_verilator
@pytest.mark.slow
@pytest.mark.board
def test_an_edited_netlist_works_as_its_rtl(netlist, tmp_path):
    """Every model in every mode; 15 s, most of them for the C++ compiler."""
    edited = _edited(netlist)
    assert _wrong(netlist, {"edited": edited}, tmp_path) == {"edited": {"collide"}}


@needs_yosys
@needs_verilator
@pytest.mark.slow
def test_a_fault_in_a_netlist_is_seen(netlist, tmp_path, monkeypatch):
    """One build for all faults; it compiles six netlists, which takes half a minute."""
    edited = _edited(netlist)
    nets = {name: _changed(edited, change) for name, change in FAULTS.items()}
    monkeypatch.setattr(absorb._Netlist, "entering", _careless)
    wrong = _wrong(netlist, nets | {"plain": netlist, "careless": _edited(netlist)}, tmp_path)
    assert all("collide" in outputs for outputs in wrong.values())
    of = {name: outputs - {"collide"} for name, outputs in wrong.items()}
    assert of["plain"] == set()
    assert of["unreset"] >= {"p1", "p2", "p3", "p7", "p16"}
    assert len(of["unregistered"]) == 1
    assert of["earlier"] == {"r36out"}
    assert of["swapped"]
    assert of["careless"] == {"p7"}


def _wrong(
    netlist: dict[str, Any], nets: dict[str, dict[str, Any]], folder: Path
) -> dict[str, set[str]]:
    """Outputs of netlists that differ from the RTL's; bits that nothing drives are 1 in some."""
    texts = {
        name: netlist_verilog(net, "shapes", name=name, unknown=n % 2)
        for n, (name, net) in enumerate(nets.items(), 1)
    }
    ports = netlist["modules"]["shapes"]["ports"]
    found = differences(folder, RTL + models_verilog(), texts, ports, INPUTS)
    return {name: set(outputs) for name, outputs in found.items()}


def _careless(known: Any, name: str) -> Any:
    """A planted fault: the reset of an absorbed register is forgotten."""
    return known.cells[name]["connections"]["DI"][0]


@needs_yosys
@pytest.mark.slow
@pytest.mark.board
def test_shapes_use_every_mode_of_the_models(netlist):
    edited = _edited(netlist)["modules"]["shapes"]["cells"]
    rams = _cells(edited, "DP16KD")
    assert {int(ram["parameters"]["DATA_WIDTH_B"], 2) for ram in rams} == {1, 2, 4, 9, 18, 36}
    modes = {ram["parameters"].get("WRITEMODE_A") for ram in rams}
    assert modes >= {"NORMAL", "WRITETHROUGH", "READBEFOREWRITE"}
    assert {ram["parameters"]["REGMODE_A"] for ram in rams} == {"NOREG", "OUTREG"}
    products = _cells(edited, "MULT18X18D")
    registers = {
        tuple(f"REG_{name}_CLK" in cell["parameters"] for name in ("INPUTA", "OUTPUT"))
        for cell in products
    }
    assert registers == {(False, False), (False, True), (True, False), (True, True)}
    signed = {tuple(c["connections"][f"SIGNED{o}"][0] for o in "AB") for c in products}
    assert signed >= {("0", "0"), ("1", "1")}
    assert {"CCU2C", "PFUMX", "TRELLIS_DPR16X4", "LUT4"} <= {c["type"] for c in edited.values()}


def _module(**cells: Any) -> dict[str, Any]:
    return {"modules": {"top": {"ports": {}, "netnames": {}, "cells": cells}}}


def _ram(parameters: dict[str, Any] | None = None, **pins: Any) -> dict[str, Any]:
    wired = {pin: [bit] for pin, bit in pins.items()}
    ways = dict.fromkeys(wired, "input")
    return {
        "type": "DP16KD", "parameters": parameters or {}, "connections": wired,
        "port_directions": ways,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (_ram(RSTA=7), r"DP16KD ram: its reset RSTA is used, which made reads zero on a board"),
        (_ram(CSB1=7), "its select CSB1 is used"),
        (_ram({"DATA_WIDTH_A": 36, "REGMODE_B": "OUTREG"}), "both halves need it or neither"),
        (_ram({"DATA_WIDTH_B": 36}), "port B has 36 bits, expected 1, 2, 4, 9 or 18"),
        (_ram({"REGMODE_B": "OUTREG"}, CEB=7), "its output register is held by CEB"),
        (_ram({"WRITEMODE_A": "OTHER"}), "WRITEMODE_A must be one of NORMAL"),
        (_ram({"DATA_WIDTH_A": 36}, WEB=7), "port B writes, and port A has 36 bits"),
    ],
)
def test_uses_that_no_model_has_are_refused(cell, said):
    with pytest.raises(InputError, match=said):
        netlist_verilog(_module(ram=cell), "top")


@pytest.mark.parametrize(
    ("kind", "parameters", "pins", "said"),
    [
        ("MULT18X18D", {"REG_OUTPUT_CLK": "CLK1"}, {}, "REG_OUTPUT_CLK is CLK1, expected"),
        ("MULT18X18D", {}, {"SIGNEDA": [7]}, "SIGNEDA changes, expected a constant"),
        ("MULT18X18D", {}, {"SOURCEB": ["1"]}, "SOURCEB is used"),
        ("MULT18X18D", {"REG_INPUTA_CE": "CE2"}, {}, "another enable or reset"),
        ("DCCA", {}, {"CE": [7]}, "its clock is gated"),
        ("IOLOGIC", {"MODE": "IDDRX1_ODDRX1"}, {}, "it is more than registers at a pin"),
        ("IOLOGIC", {"MODE": "IREG_OREG"}, {"LSR": [7]}, "LSR is used"),
        ("IOLOGIC", {"MODE": "IREG_OREG", "CLKOMUX": "INV"}, {}, "its clock is inverted"),
        ("EHXPLLL", {}, {}, "there is no model of the cell EHXPLLL"),
    ],
)
def test_other_cells_are_refused(kind, parameters, pins, said):
    cell = {"type": kind, "parameters": parameters, "connections": pins, "port_directions": {}}
    with pytest.raises(InputError, match=said):
        netlist_verilog(_module(cell=cell), "top")


def test_an_inout_is_refused():
    netlist = _module()
    netlist["modules"]["top"]["ports"] = {"dq": {"direction": "inout", "bits": [2]}}
    with pytest.raises(InputError, match="the port dq of top is an inout"):
        netlist_verilog(netlist, "top")
