"""The system of a ULX3S after place and route, in Verilator: memory over the serial line."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.device.package.ecp5 import flow
from lightmamba.device.package.ulx3s_device import simulated_ulx3s
from lightmamba.hardware.rtl.memory.axi import lite_slave, master
from lightmamba.hardware.rtl.verilog import written
from lightmamba.hardware.soc.board import TOP
from lightmamba.hardware.soc.system import CORE
from lightmamba.hardware.soc.ulx3s import around_netlist
from lightmamba.hardware.synth.board import prepared, routed
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.unpadded import unpadded
from tests.support.tools import needs_nextpnr, needs_verilator

from .bitstream import Counts, Fixed, database, differences
from .ulx3s import built

pytestmark = [pytest.mark.slow, needs_nextpnr]


FLAWS = {  # in the bits, by what is said
    "does not": (r"arc: A\d V\w+\n", ""),
    "which no net does": (r"arc: A(\d) (\w+)\n", r"arc: A\1 \2\narc: E1_H02E0001 Q0\n"),
    ".INIT is": (r"(K0.INIT )(0*)1", r"\g<1>\g<2>0"),
    "which no LUT has": (r"(word: SLICE)A(.K0.INIT.*)", r"\1A\2\nword: SLICEZ\2"),
    ".REGSET is": (r"(SLICE\w.REG\d.REGSET) RESET", r"\1 SET"),
    ".CLKMUX is": (r"(CLK0.CLKMUX) CLK\n", r"\1 INV\n"),
    ".CEMUX is": (r"(SLICE\w.CEMUX) CE\n", r"\1 INV\n"),
    "are not those of the cell": (r"(bram_init \d+\n)000", r"\g<1>001"),
    "belong to no block RAM": (r"\.bram_init \d+", ".bram_init 99"),
    "DATA_WIDTH_A is": (r"(DATA_WIDTH_A) \d+", r"\1 1"),
}


class Idle(wiring.Component):
    """An accelerator that answers to the host with the address that is read, and does no more."""

    memory: Any
    host: Any

    def __init__(self) -> None:
        super().__init__(
            {"memory": Out(master(64)), "host": In(lite_slave()), "interrupt": Out(1)}
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host = self.host
        written = host.awvalid & host.wvalid & ~host.bvalid
        m.d.comb += [
            host.awready.eq(written),
            host.wready.eq(written),
            host.arready.eq(~host.rvalid),
        ]
        m.d.sync += [
            host.bvalid.eq(written | (host.bvalid & ~host.bready)),
            host.rvalid.eq((host.arvalid & host.arready) | (host.rvalid & ~host.rready)),
        ]
        with m.If(host.arready):
            m.d.sync += host.rdata.eq(host.araddr)
        return m


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    """The system, and a folder with its netlist and bitstream: a minute of yosys and nextpnr."""
    folder = tmp_path_factory.mktemp("placed")
    made = design(built(folder), Board.load("ulx3s"))
    system = flow(made, written(Idle(), CORE))
    prepared(replace(system, resets=()), folder / "flow")
    found = routed(system, folder / "flow", netlist="routed.json")
    assert all(clock.met for clock in found.clocks)
    return made, folder / "flow"


@needs_verilator
def test_the_routed_system_answers_and_holds_memory(placed):
    """Pads, PLL and the accelerator are left out."""
    made, folder = placed
    module = unpadded(json.loads((folder / "routed.json").read_text())["modules"]["top"])
    kinds = {cell["type"] for cell in module["cells"].values()}
    assert {"IOLOGIC", "TRELLIS_COMB", "TRELLIS_FF", "DP16KD"} <= kinds
    netlist = netlist_verilog({"modules": {TOP: module}}, TOP, name="placed")
    text = f"{netlist}\n{models_verilog()}\n{around_netlist('placed')}"
    values = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    with simulated_ulx3s(made, text, line=True) as device:
        assert device.read32(0x40) == 0x40
        device.write_memory("", 1000, values)
        np.testing.assert_array_equal(device.read_memory("", 1000, 3000), values)
        np.testing.assert_array_equal(device.board.memory[1000:4000], values)
        assert (device.link.broken, device.board.violations) == (0, "")
        assert device.board.leds & 0b10


def compared(folder: Path) -> tuple[str, Any]:
    """The text that is packed, and the routed module."""
    text = (folder / f"{TOP}.config").read_text()
    return text, json.loads((folder / "routed.json").read_text())["modules"]["top"]


def test_the_bits_are_the_routed_netlist(placed):
    text, module = compared(placed[1])
    fixed, counts = Fixed(database()), Counts()
    assert not list(differences(text, module, fixed, counts))
    cells = Counter(cell["type"] for cell in module["cells"].values())
    assert counts.flip_flops == cells["TRELLIS_FF"] > 1000
    assert counts.memories == cells["DP16KD"] > 1
    assert counts.luts > 1000
    assert min(counts.arcs, counts.pins) > 5000
    for found, (old, new) in FLAWS.items():
        changed, number = re.subn(old, new, text, count=1)
        assert number == 1, old
        assert any(found in each for each in differences(changed, module, fixed)), found


def test_a_route_to_another_pin_is_found(placed):
    """Two inputs of a LUT trade nets, and its route does not."""
    text, module = compared(placed[1])
    luts = (c["connections"] for c in module["cells"].values() if c["type"] == "TRELLIS_COMB")
    pins = next(pins for pins in luts if len({*pins["A"], *pins["B"]}) == 2)
    pins["A"], pins["B"] = pins["B"], pins["A"]
    assert any(
        "its route leads to" in each for each in differences(text, module, Fixed(database()))
    )


@pytest.mark.parametrize(("wire", "there"), [("JA0", True), ("JA1", False)])
def test_a_wire_that_only_this_size_of_device_has(wire, there):
    """The enable of a clock buffer, which the database has with the size before its name."""
    arc = (67, 0), ((0, 0), "G_JCE_TDCC0"), ((67, 1), wire)
    assert Fixed(database()).has(arc) == there
