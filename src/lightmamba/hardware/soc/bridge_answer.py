"""Answers to characters: a CRC after every frame."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring

from lightmamba.hardware.machine.serial import CRC_BYTES
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.soc.crc import Crc32

__all__ = ["PIECE", "AnswerSender"]

PIECE = data.StructLayout({"byte": unsigned(8), "first": unsigned(1), "last": unsigned(1)})


class AnswerSender(wiring.Component):
    """Pass on the bytes of frames, and their CRC after the last one of each.

    Combinational from ``i`` to ``o``; then a byte every ``interval`` cycles, as the CRC takes a
    cycle for each bit.

    Members
    -------
    i : In(stream of PIECE)
        ``first`` marks a start byte, which the CRC does not cover; ``last`` the byte before it.
    o : Out(stream of 8 bits)
    """

    latency, interval = 0, 9

    def __init__(self) -> None:
        super().__init__({"i": i_stream(PIECE), "o": o_stream(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32()
        moved, left = Signal(), Signal(range(CRC_BYTES + 1))
        ending = left.any()
        m.d.comb += [
            crc.plain.eq(ending),
            crc.data.eq(self.i.payload.byte),
            moved.eq(self.o.valid & self.o.ready),
            crc.load.eq(moved),
            crc.clear.eq(moved & self.i.payload.first & ~ending),
            self.i.ready.eq(self.o.ready & ~crc.busy & ~ending),
        ]
        with m.If(ending):
            m.d.comb += [self.o.valid.eq(~crc.busy), self.o.payload.eq(~crc.value[:8])]
            with m.If(moved):
                m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(self.i.valid & ~crc.busy),
                self.o.payload.eq(self.i.payload.byte),
                crc.load.eq(moved & ~self.i.payload.first),
            ]
            with m.If(moved & self.i.payload.last):
                m.d.sync += left.eq(CRC_BYTES)
        return m
