"""The system of a ULX3S after place and route, in Verilator: memory over the serial line."""

import json
from dataclasses import replace
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

from .ulx3s import built


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


@needs_nextpnr
@pytest.mark.slow
@needs_verilator
def test_the_routed_system_answers_and_holds_memory(tmp_path):
    """A minute: yosys, nextpnr, Verilator; pads, PLL and the accelerator are left out."""
    made = design(built(tmp_path), Board.load("ulx3s"))
    system = flow(made, written(Idle(), CORE))
    prepared(replace(system, resets=()), tmp_path / "flow")
    found = routed(system, tmp_path / "flow", netlist="routed.json")
    assert all(clock.met for clock in found.clocks)
    module = unpadded(json.loads((tmp_path / "flow/routed.json").read_text())["modules"]["top"])
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
