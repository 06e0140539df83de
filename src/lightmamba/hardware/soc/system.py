"""Accelerator, memory controller and bridge to a host as one system, without clocks and pins."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetInserter, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import Identity
from lightmamba.hardware.rtl.memory.axi import lite_slave, master
from lightmamba.hardware.soc.board import CORE_RESET
from lightmamba.hardware.soc.bridge import SerialBridge
from lightmamba.hardware.soc.sdram import SdramController
from lightmamba.hardware.soc.sdram_layouts import pins
from lightmamba.hardware.soc.share import MemoryShare

__all__ = ["CORE", "PORT", "System"]

CORE = "lightmamba"  # module of the accelerator, as ``rtl.top.to_verilog`` names it
PORT = "memory"  # its one memory port
PAD_CYCLES = 2  # a register of each pin, both ways
BEAT_LOG2 = 23  # of the machine's clock: half of a period of the LED that shows that it runs


class System(wiring.Component):
    """A machine with one memory port on an SDRAM, with its registers behind a serial line.

    The accelerator is an instance of the module :data:`CORE`, so the Verilog of a build is used as
    it is. It and the bridge share the memory. Clock domains: ``sync`` for the machine and the
    serial line, ``sdram`` for the chip. When the host resets the accelerator, the way to memory is
    reset too; who makes the clocks then resets ``sdram``, and the chip is initialized again.

    Parameters
    ----------
    bits : int
        Of the machine's memory port, 32 or 64.
    identity : Identity
        What the board says of itself; ``memory_clock_hz`` is the clock of ``sdram``.

    Members
    -------
    rx, tx : In, Out
        The serial line.
    pins : Out(sdram_layouts.pins())
        Of the chip, for registers at the device's pins.
    reset_sdram : Out
        The domain ``sdram``, of which it is a signal, is to be reset.
    phase_step, phase_later : Out
        A pulse in ``sync``: move the phase of the chip's clock, and which way.
    leds : Out(8)
        0: it runs (blinks); 1: memory is ready; 2: the accelerator works; 3: a result waits;
        4, 5: characters from and to the host; 6, 7: as the host sets bits 0 and 1.
    """

    rx: Signal
    tx: Signal
    pins: Any
    reset_sdram: Signal
    phase_step: Signal
    phase_later: Signal
    leds: Signal

    def __init__(self, bits: int, identity: Identity) -> None:
        self.bits, self.identity = bits, identity
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "pins": Out(pins()),
                "reset_sdram": Out(1),
                "phase_step": Out(1),
                "phase_later": Out(1),
                "leds": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = SerialBridge(self.bits, self.identity)
        share = MemoryShare(self.bits)
        sdram = SdramController(
            self.bits, self.identity.memory_clock_hz / 1e6, pad_cycles=PAD_CYCLES
        )
        reset = Signal(name="reset_sync")
        m.d.sync += reset.eq(bridge.reset)
        m.submodules.reset = cdc.FFSynchronizer(reset, self.reset_sdram, o_domain="sdram")
        m.submodules.share = ResetInserter({"sync": reset})(share)
        m.submodules.sdram = ResetInserter({"sync": reset})(sdram)
        core_reset = Signal(init=1, name=CORE_RESET)  # a register, for a network of its own
        m.d.sync += core_reset.eq(reset)
        core = _Core(m, self.bits, core_reset)
        wiring.connect(m, core.memory, share.first)
        wiring.connect(m, bridge.memory, share.second)
        wiring.connect(m, share.o, sdram.axi)
        wiring.connect(m, bridge.host, core.host)
        wiring.connect(m, sdram.pins, wiring.flipped(self.pins))
        m.d.comb += [
            bridge.rx.eq(self.rx),
            self.tx.eq(bridge.tx),
            bridge.interrupt.eq(core.interrupt),
            sdram.capture.eq(bridge.capture),
            self.phase_step.eq(bridge.phase_step),
            self.phase_later.eq(bridge.phase_later),
        ]
        self._show(m, bridge, sdram, core)
        return m

    def _show(self, m: Module, bridge: SerialBridge, sdram: SdramController, core: "_Core") -> None:
        """Drive the LEDs; what is short stays for a while."""
        beat = Signal(BEAT_LOG2 + 1)
        m.d.sync += beat.eq(beat + 1)
        busy = core.memory.arvalid | core.memory.wvalid
        for led, event in ((2, busy), (4, ~self.rx), (5, ~self.tx)):
            shown = Signal(name=f"shown{led}")
            with m.If(event):
                m.d.sync += shown.eq(1)
            with m.Elif(beat[:-3].all()):
                m.d.sync += shown.eq(0)
            m.d.comb += self.leds[led].eq(shown)
        m.d.comb += [
            self.leds[0].eq(beat[-1]),
            self.leds[1].eq(sdram.ready),
            self.leds[3].eq(core.interrupt),
            self.leds[6:8].eq(bridge.leds[:2]),
        ]


class _Core:
    """Instance of the accelerator, as interfaces."""

    def __init__(self, m: Module, bits: int, reset: Signal) -> None:
        self.memory = master(bits).create()
        self.host = lite_slave().flip().create()
        self.interrupt = Signal()
        ports: dict[str, Any] = {
            "i_clk": ClockSignal(), "i_rst": reset, "o_interrupt": self.interrupt,
        }  # fmt: skip
        for prefix, bundle, signature, outward in (
            (PORT, self.memory, master(bits), Out), ("host", self.host, lite_slave(), In),
        ):  # fmt: skip
            for name, member in signature.members.items():
                way = "o" if member.flow is outward else "i"
                ports[f"{way}_{prefix}__{name}"] = getattr(bundle, name)
        m.submodules.core = Instance(CORE, **ports)
