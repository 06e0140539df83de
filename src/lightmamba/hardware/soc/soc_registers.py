"""Registers of the board, made from the table of :mod:`lightmamba.hardware.machine.serial`."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import SOC_REGISTERS, soc_offset

__all__ = ["INDEX_BITS", "SocRegisters"]

INDEX_BITS = (len(SOC_REGISTERS) - 1).bit_length()
RESET_CYCLES = 8
CAPTURE = 1  # after configuration, with the chip's clock half a period late


class SocRegisters(wiring.Component):
    """Clock phase and capture of the SDRAM, LEDs, reset of the accelerator, the host's mark.

    A written value shows ``latency`` cycles later; reading is combinational. One access per cycle.

    Parameters
    ----------
    turn : int
        Steps of the phase that are a whole period, 2 to 256.

    Members
    -------
    index : In
        Register, by its place in the table.
    write : In
        Write ``data`` to it.
    data : In
    value : Out
        What it reads.
    phase_step, phase_later : Out
        Pulse: step the phase of the SDRAM's clock; its direction, which stays.
    capture, leds : Out
    reset : Out
        1 for eight cycles. Transactions of the accelerator are lost, so what lies between it and
        memory must be reset with it.
    """

    latency, interval = 1, 1

    def __init__(self, turn: int) -> None:
        self.turn = turn
        super().__init__({
            "index": In(INDEX_BITS), "write": In(1), "data": In(32), "value": Out(32),
            "phase_step": Out(1), "phase_later": Out(1), "capture": Out(4, init=CAPTURE),
            "leds": Out(8), "reset": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps, loaded = Signal(range(self.turn)), Signal(32)
        left = Signal(range(RESET_CYCLES + 1))
        kept = {"capture": self.capture, "leds": self.leds, "loaded": loaded}
        readable = {**kept, "phase_steps": steps}
        m.d.comb += self.reset.eq(left.any())
        m.d.sync += [self.phase_step.eq(0), left.eq(left - self.reset)]
        for number, register in enumerate(SOC_REGISTERS):
            here = self.write & (self.index == number)
            if register.name in kept:
                with m.If(here):
                    m.d.sync += kept[register.name].eq(self.data)
            elif register.name == "phase":
                with m.If(here & self.data[0]):
                    m.d.sync += [
                        self.phase_step.eq(1),
                        self.phase_later.eq(self.data[1]),
                        steps.eq(
                            Mux(
                                self.data[1],
                                Mux(steps == self.turn - 1, 0, steps + 1),
                                Mux(steps == 0, self.turn - 1, steps - 1),
                            )
                        ),
                    ]
            elif register.name == "reset":
                with m.If(here & self.data[0]):
                    m.d.sync += left.eq(RESET_CYCLES)
        with m.Switch(self.index):
            for name, register in readable.items():
                with m.Case((soc_offset(name) - soc_offset(SOC_REGISTERS[0].name)) // 4):
                    m.d.comb += self.value.eq(register)
        return m
