"""Host port: the registers of ``machine.registers`` behind AXI4-Lite, made from that table."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.registers import offsets, registers
from lightmamba.hardware.rtl.memory.axi import LITE_BITS, lite_slave
from lightmamba.hardware.rtl.pipe import select

__all__ = ["HostPort"]

FAN = 3  # index bits per registered level of the read multiplexer


class HostPort(wiring.Component):
    """Registers that a host writes and reads.

    One write and one read at a time, no faster than one every few cycles; every response is OKAY.
    Byte strobes are obeyed; what is at no register reads as 0 and takes no writes. A written value
    shows ``latency`` cycles after address and data are both taken.

    Parameters
    ----------
    config : ArchConfig, optional
        Whose registers there are; all others read as 0.

    Members
    -------
    bus : In(AXI4-Lite slave)
    NAME : Out, for each "rw" register
        Its value: 32 bits, or 64 where it is wide; an array where it counts several.
    NAME : In, for each "ro" register
    NAME, NAME_write : Out, for each "wo" register
        What is written, and a pulse while it is.
    done : In
        Pulse: the last token of a start is finished.
    done_latch : Out
        ``done`` has been seen; bit 1 of a write to ``interrupt``, or a new start, clears it.
    faulty : In
        There is a bus fault.
    interrupt_out : Out
        The line: bit 0 of ``interrupt``, and the latch or a bus fault.
    """

    latency = 2

    def __init__(self, config: ArchConfig | None = None) -> None:
        config = config or ArchConfig(lanes=64)
        self.config = config
        self.counts = {register: register.counted(config) for register in registers(config.kinds)}
        self.registers = [register for register, count in self.counts.items() if count]
        members: dict[str, Any] = {
            "bus": In(lite_slave()),
            "done": In(1),
            "done_latch": Out(1),
            "faulty": In(1),
            "interrupt_out": Out(1),
        }
        for register in self.registers:
            bits = 64 if register.wide else 32
            members[register.name] = (In if register.access == "ro" else Out)(bits)
            if register.count > 1:
                members[register.name] = members[register.name].array(self.counts[register])
            if register.access == "wo":
                members[f"{register.name}_write"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write, index, data, strobe = self._writes(m)
        readable: dict[int, Value] = {}
        places = offsets(self.config.kinds)
        m.d.sync += self.interrupt[1:].eq(0)  # it keeps the enable bit only, the others pulse
        for register in self.registers:
            member = getattr(self, register.name)
            values = list(member) if register.count > 1 else [member]
            halves = [v[at : at + 32] for v in values for at in range(0, len(v), 32)]
            for number, value in enumerate(halves, places[register.name] // 4):
                here = write & (index == number)
                if register.access == "wo":
                    m.d.sync += getattr(self, f"{register.name}_write").eq(here)
                else:
                    readable[number] = value
                if register.access == "rw":
                    for byte in range(4):
                        with m.If(here & strobe[byte]):
                            m.d.sync += value.word_select(byte, 8).eq(data.word_select(byte, 8))
                elif register.access == "wo":
                    with m.If(here):
                        m.d.sync += value.eq(data)
        for register in self.registers:
            if register.name.endswith("_data"):
                index_of = getattr(self, register.name.replace("_data", "_index"))
                with m.If(getattr(self, f"{register.name}_write")):
                    m.d.sync += index_of.eq(index_of + 1)

        # Done, until it is acknowledged.
        acknowledge = Signal()
        m.d.comb += [
            acknowledge.eq(self.interrupt[1] | self.start_write),
            self.interrupt_out.eq(self.interrupt[0] & (self.done_latch | self.faulty)),
        ]
        with m.If(self.done):
            m.d.sync += self.done_latch.eq(1)
        with m.Elif(acknowledge):
            m.d.sync += self.done_latch.eq(0)
        readable[places["interrupt"] // 4] = Cat(self.interrupt[0], self.done_latch)

        self._reads(m, readable)
        return m

    def _writes(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Whether a write happens in this cycle; which register, what, which bytes."""
        bus = self.bus
        write, addressed, filled = Signal(), Signal(), Signal()
        index, data, strobe = Signal(LITE_BITS - 2), Signal(32), Signal(4)
        m.d.comb += [
            bus.awready.eq(~addressed),
            bus.wready.eq(~filled),
            write.eq(addressed & filled & ~bus.bvalid),
        ]
        with m.If(write):
            m.d.sync += [addressed.eq(0), filled.eq(0), bus.bvalid.eq(1)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [addressed.eq(1), index.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [filled.eq(1), data.eq(bus.wdata), strobe.eq(bus.wstrb)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        return write, index, data, strobe

    def _reads(self, m: Module, readable: dict[int, Value]) -> None:
        """Answer reads from a tree of multiplexers, registered at every level."""
        bus = self.bus
        index = Signal(LITE_BITS - 2)
        values = [readable.get(n, Const(0, 32)) for n in range(1 << len(index))]
        values = values[: max(readable) + 1]
        at, levels = 0, 0
        while len(values) > 1:
            at, levels = levels * FAN, levels + 1
            groups = [values[k : k + (1 << FAN)] for k in range(0, len(values), 1 << FAN)]
            values = []
            for group in groups:
                value = Signal(32, reset_less=True, name=f"level{levels}")
                m.d.sync += value.eq(select(m, index[at : at + FAN], group))
                values.append(value)
        inside = index <= max(readable)

        busy = Signal()
        step = Signal(levels + 1)  # one bit, from the address to the value
        m.d.comb += bus.arready.eq(~busy)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [busy.eq(1), index.eq(bus.araddr[2:]), step.eq(1)]
        with m.Else():
            m.d.sync += step.eq(step << 1)
        with m.If(step[-1]):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(Mux(inside, values[0], 0))]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += [bus.rvalid.eq(0), busy.eq(0)]
