"""LiteDRAM's controller with the ports of ours, for a second opinion of the chip's model.

Clock domain ``clk`` only. LiteDRAM leaves the initialization to software; here a few lines do it.
"""
# mypy: disable-error-code="import-not-found, import-untyped"

from typing import Any

from litedram.common import PhySettings
from litedram.core.controller import ControllerSettings, LiteDRAMController
from litedram.core.crossbar import LiteDRAMCrossbar
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.modules import MT48LC16M16
from litex.gen.fhdl.verilog import convert
from migen import Case, ClockDomain, If, Module, Signal

__all__ = ["verilog"]

MHZ, CAS, WAIT = 100, 2, 20_100
# Cycle after the wait, RAS# CAS# WE#, address: precharge all, eight refreshes, bursts of one word.
STEPS = [(0, 2, 1 << 10), *((10 + 10 * n, 1, 0) for n in range(8)), (100, 0, CAS << 4)]


class Top(Module):
    """AXI4 of 64 bits and the chip's pins, named as Amaranth names them."""

    def __init__(self) -> None:
        self.ios: set[Any] = set()
        self.clock_domains.cd_sys = ClockDomain()
        clk, rst = self._port("clk"), self._port("rst")
        for unused in ("sdram_clk", "sdram_rst"):
            self._port(unused)
        self._port("capture", 2)
        self.comb += [self.cd_sys.clk.eq(clk), self.cd_sys.rst.eq(rst)]
        chip = MT48LC16M16(MHZ * 1e6, "1:1")
        settings = PhySettings(
            phytype="GENSDRPHY", memtype="SDR", databits=16, dfi_databits=16, nranks=1, nphases=1,
            rdphase=0, wrphase=0, cl=CAS, read_latency=CAS + 1, write_latency=0,
        )  # fmt: skip
        self.submodules.controller = controller = LiteDRAMController(
            settings, chip.geom_settings, chip.timing_settings, MHZ * 1e6,
            ControllerSettings(with_auto_precharge=False),
        )  # fmt: skip
        self.submodules.crossbar = crossbar = LiteDRAMCrossbar(controller.interface)
        axi = LiteDRAMAXIPort(64, 25, id_width=6)
        self.submodules.bridge = LiteDRAMAXI2Native(axi, crossbar.get_port(data_width=64))
        self._bus(axi)
        self._pins(controller.dfi.p0, settings.read_latency)

    def _port(self, name: str, bits: int = 1) -> Any:
        signal = Signal(bits, name_override=name)
        self.ios.add(signal)
        return signal

    def _bus(self, axi: Any) -> None:
        for way in ("ar", "aw"):
            stream = getattr(axi, way)
            self.comb += [
                stream.addr.eq(self._port(f"axi__{way}addr", 44)),
                stream.len.eq(self._port(f"axi__{way}len", 8)),
                stream.id.eq(self._port(f"axi__{way}id", 6)),
                stream.size.eq(3),
                stream.burst.eq(1),
                stream.valid.eq(self._port(f"axi__{way}valid")),
                self._port(f"axi__{way}ready").eq(stream.ready),
            ]
        self.comb += [
            self._port("axi__rdata", 64).eq(axi.r.data),
            self._port("axi__rresp", 2).eq(axi.r.resp),
            self._port("axi__rid", 6).eq(axi.r.id),
            self._port("axi__rlast").eq(axi.r.last),
            self._port("axi__rvalid").eq(axi.r.valid),
            axi.r.ready.eq(self._port("axi__rready")),
            axi.w.data.eq(self._port("axi__wdata", 64)),
            axi.w.strb.eq(self._port("axi__wstrb", 8)),
            axi.w.last.eq(self._port("axi__wlast")),
            axi.w.valid.eq(self._port("axi__wvalid")),
            self._port("axi__wready").eq(axi.w.ready),
            self._port("axi__bresp", 2).eq(axi.b.resp),
            self._port("axi__bid", 6).eq(axi.b.id),
            self._port("axi__bvalid").eq(axi.b.valid),
            axi.b.ready.eq(self._port("axi__bready")),
        ]

    def _pins(self, dfi: Any, read_latency: int) -> None:
        """Registers at the pins, as LiteDRAM's GENSDRPHY has them, and the initialization."""
        code, bank, address = Signal(3), Signal(2), Signal(13)
        count, ready = Signal(max=WAIT + 200), self._port("ready")
        steps = {
            WAIT + at: [code.eq(command), address.eq(value), bank.eq(0)]
            for at, command, value in STEPS
        }
        self.comb += [
            ready.eq(count == WAIT + 150),
            If(
                ready, code[2].eq(dfi.ras_n), code[1].eq(dfi.cas_n), code[0].eq(dfi.we_n),
                bank.eq(dfi.bank), address.eq(dfi.address),
            ).Else(Case(count, steps | {"default": [code.eq(7)]})),
        ]  # fmt: skip
        outputs = (
            ("cke", 1, 1), ("cs_n", 1, 0), ("ras_n", 1, code[2]), ("cas_n", 1, code[1]),
            ("we_n", 1, code[0]), ("ba", 2, bank), ("a", 13, address),
            ("dqm", 2, dfi.wrdata_mask & (dfi.wrdata_en[0] * 3)), ("dq_o", 16, dfi.wrdata),
            ("dq_oe", 1, dfi.wrdata_en),
        )  # fmt: skip
        self.sync += [If(~ready, count.eq(count + 1))]
        self.sync += [self._port(f"pins__{n}", bits).eq(value) for n, bits, value in outputs]
        underway = Signal(read_latency)
        self.sync += [
            dfi.rddata.eq(self._port("pins__dq_i", 16)),
            underway.eq(underway << 1 | dfi.rddata_en),
            dfi.rddata_valid.eq(underway[-1]),
        ]


def verilog() -> str:
    """The controller as a module named ``top``; its comments, which have a time, are left out."""
    top = Top()
    lines = str(convert(top, top.ios, name="top")).splitlines()
    return "\n".join(line for line in lines if not line.startswith("//"))
