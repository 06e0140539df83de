"""The system on a Radiona ULX3S with an LFE5U-85F: clocks, registers at the pins, and pins."""

from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, IOPort, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import Identity
from lightmamba.hardware.rtl.verilog import written
from lightmamba.hardware.soc.board import (
    INSIDE,
    MEMORY_RESET,
    OSCILLATOR,
    OSCILLATOR_MHZ,
    SHIFT,
    TOP,
    Pll,
)
from lightmamba.hardware.soc.pll import pll_cell
from lightmamba.hardware.soc.system import System

__all__ = ["Inside", "around_netlist", "to_verilog"]

COMMANDS = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm")
PADS = {  # pins of the top module: name and bits
    "sdram_cke": 1, "sdram_csn": 1, "sdram_rasn": 1, "sdram_casn": 1, "sdram_wen": 1,
    "sdram_ba": 2, "sdram_a": 13, "sdram_dqm": 2,
}  # fmt: skip


LINES = {OSCILLATOR: 1, "ftdi_txd": 1, "ftdi_rxd": 1, "wifi_en": 1, "led": 8, "sdram_clk": 1,
         "sdram_d": 16, **PADS}  # fmt: skip
MEMBERS = {
    "sync_clk": In(1), "sync_rst": In(1), "sdram_clk": In(1), "sdram_rst": In(1),
    "rx": In(1, init=1), "tx": Out(1), "commands": Out(sum(PADS.values())), "dq_o": Out(16),
    "dq_t": Out(16), "dq_i": In(16), "phase_step": Out(1), "phase_later": Out(1), "leds": Out(8),
}  # fmt: skip


class Inside(wiring.Component):
    """The system with the registers at its pins; clocks and resets come from outside.

    Members
    -------
    sync_clk, sync_rst, sdram_clk, sdram_rst : In
    rx, tx : In, Out
    commands : Out(23)
        ``cke``, ``cs_n``, ``ras_n``, ``cas_n``, ``we_n``, ``ba``, ``a`` and ``dqm``, from the low
        bit up.
    dq_o, dq_t, dq_i : Out(16), Out(16), In(16)
        Data lines; a 1 in ``dq_t`` leaves a line to the chip.
    phase_step, phase_later, leds : Out
        As :class:`~lightmamba.hardware.soc.system.System` says.
    """

    def __init__(self, bits: int, identity: Identity) -> None:
        self.system = System(bits, identity)
        super().__init__(MEMBERS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.system = system = self.system
        reset = Signal(reset_less=True, init=1, name=MEMORY_RESET)  # a register, as the core's is
        m.d.sdram += reset.eq(self.sdram_rst | system.reset_sdram)
        for name, rst in (("sync", self.sync_rst), ("sdram", reset)):
            domain = ClockDomain(name)
            m.domains += domain
            m.d.comb += [domain.clk.eq(getattr(self, f"{name}_clk")), domain.rst.eq(rst)]
        m.d.comb += [
            system.rx.eq(self.rx),
            self.tx.eq(system.tx),
            self.phase_step.eq(system.phase_step),
            self.phase_later.eq(system.phase_later),
            self.leds.eq(system.leds),
        ]
        chip, at = system.pins, 0
        for name in COMMANDS:
            for bit in Value.cast(getattr(chip, name)):
                _register(m, f"{name}_{at}", "OFS1P3BX", bit, self.commands[at])
                at += 1
        for n in range(16):
            _register(m, f"out_{n}", "OFS1P3BX", chip.dq_o[n], self.dq_o[n])
            _register(m, f"leave_{n}", "OFS1P3BX", ~chip.dq_oe, self.dq_t[n])
            _register(m, f"in_{n}", "IFS1P3BX", self.dq_i[n], chip.dq_i[n])
        return m


def _register(m: Module, name: str, cell: str, d: Value, q: Value) -> None:
    """Register of a pin, in the clock domain ``sdram``."""
    m.submodules[name] = Instance(
        cell, i_D=d, i_SCLK=ClockSignal("sdram"), i_SP=Const(1), i_PD=Const(0), o_Q=q
    )


class _Board(wiring.Component):
    """PLL, pads, and an instance of :data:`INSIDE`."""

    def __init__(self, pll: Pll, ports: dict[str, IOPort]) -> None:
        self.pll, self.ports = pll, ports
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pins = self.ports
        clki, lock, stepped, shifted = Signal(), Signal(), Signal(), Signal()
        inner = {name: Signal(member.shape, name=name) for name, member in MEMBERS.items()}
        self._buffer(m, OSCILLATOR, i=clki)
        m.submodules.pll = pll_cell(
            self.pll, clki=clki, shift=round(SHIFT * self.pll.turn), step=stepped,
            later=inner["phase_later"],
            outputs={"first": inner["sdram_clk"], "second": inner["sync_clk"],
                     "shifted": shifted, "lock": lock},
        )  # fmt: skip
        for name in ("sync", "sdram"):
            domain = ClockDomain(name)
            m.domains += domain
            m.submodules[f"reset_{name}"] = ResetSynchronizer(~lock, domain=name, stages=4)
            m.d.comb += [domain.clk.eq(inner[f"{name}_clk"]), inner[f"{name}_rst"].eq(domain.rst)]
        # A step is taken when it ends, after `later` has been stable for a cycle.
        m.d.sync += stepped.eq(inner["phase_step"])
        ways = {name: "o" if member.flow is Out else "i" for name, member in MEMBERS.items()}
        m.submodules.inside = Instance(INSIDE, **{f"{ways[n]}_{n}": inner[n] for n in inner})
        self._buffer(m, "ftdi_txd", i=inner["rx"])
        self._buffer(m, "ftdi_rxd", o=inner["tx"])
        self._buffer(m, "wifi_en", o=Const(0))
        at = 0
        for name, bits in PADS.items():
            self._buffer(m, name, o=inner["commands"][at : at + bits])
            at += bits
        self._buffer(m, "led", o=inner["leds"])
        for n in range(16):
            m.submodules[f"dq{n}"] = Instance(
                "BB", i_I=inner["dq_o"][n], i_T=inner["dq_t"][n], o_O=inner["dq_i"][n],
                io_B=pins["sdram_d"][n],
            )  # fmt: skip
        chip_clock = Signal()
        m.submodules.chip_clock = Instance(
            "ODDRX1F", i_D0=Const(1), i_D1=Const(0), i_SCLK=shifted, i_RST=Const(0), o_Q=chip_clock
        )
        self._buffer(m, "sdram_clk", o=chip_clock)
        return m

    def _buffer(self, m: Module, name: str, *, i: Any = None, o: Any = None) -> None:
        """Buffers of a pin, or of several."""
        port = self.ports[name]
        for n in range(len(port)):
            m.submodules[f"{name}_pad{n}"] = (
                Instance("OB", i_I=o[n], io_O=port[n])
                if i is None
                else Instance("IB", io_I=port[n], o_O=i)
            )


def to_verilog(bits: int, identity: Identity) -> str:
    """Modules ``ulx3s`` and ``inside``; the accelerator's is not among them.

    Raises
    ------
    InputError
        If a PLL does not make the clocks.
    """
    pll = Pll.of(OSCILLATOR_MHZ, identity.memory_clock_hz / 1e6, identity.clock_hz / 1e6)
    ports = {name: IOPort(size, name=name) for name, size in LINES.items()}
    pads = {name: (port, None) for name, port in ports.items()}
    board = verilog.convert(_Board(pll, ports), name=TOP, ports=pads, emit_src=False)
    return f"{written(Inside(bits, identity), INSIDE)}\n{board}"


def around_netlist(name: str) -> str:
    """Module :data:`INSIDE` as an instance of a netlist of the board without its pads.

    Parameters
    ----------
    name
        Module that :func:`lightmamba.hardware.synth.unpadded.unpadded` made of the module
        :data:`TOP`.
    """
    widths = {n: f"[{member.shape - 1}:0] " for n, member in MEMBERS.items()}
    ways = {n: "output" if member.flow is Out else "input" for n, member in MEMBERS.items()}
    ports = ",\n  ".join(f"{ways[n]} {widths[n]}{n}" for n in MEMBERS)
    pins = {
        OSCILLATOR: "1'b0", "clkop": "sdram_clk", "clkos": "sync_clk", "clkos2": "1'b0",
        "lock": "~sync_rst", "ftdi_txd": "rx", "ftdi_rxd": "tx", "led": "leds",
        "sdram_d_i": "dq_i", "sdram_d_o": "dq_o", "sdram_d_t": "dq_t",
        "phasestep": "phase_step", "phasedir": "earlier",
    }  # fmt: skip
    at = 0
    for pad, bits in PADS.items():
        pins[pad] = f"commands[{at + bits - 1}:{at}]"
        at += bits
    connections = ",\n    ".join(f".{pin}({wire})" for pin, wire in pins.items())
    # INSIDE is a word of SystemVerilog, so it is escaped, as yosys does it.
    return f"""\
module \\{INSIDE} (
  {ports}
);
  wire earlier;
  assign phase_later = ~earlier;
  {name} netlist (
    {connections}
  );
endmodule
"""
