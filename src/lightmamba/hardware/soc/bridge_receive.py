"""Requests from characters: the buffer, and what finds frames and checks them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import (
    BLOCK,
    CRC_BYTES,
    HEADER_BYTES,
    PAYLOAD,
    START_REQUEST,
    Status,
)
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.soc.crc import RESIDUE, Crc32

__all__ = ["FrameBuffer", "FrameReceiver"]


class FrameBuffer(wiring.Component):
    """First in, first out, for bytes that count only once they are committed.

    One byte per cycle on both sides; a byte can be read ``latency`` cycles after its commit.

    Parameters
    ----------
    depth : int
        Bytes, a power of two; it holds one less.

    Members
    -------
    write : In
        Append ``data``; not while ``full``.
    data : In
    commit, drop : In
        Keep everything written so far, or take back what was not committed.
    full : Out
    o : Out(stream of 8 bits)
    """

    latency, interval = 2, 1

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__({
            "write": In(1), "data": In(8), "commit": In(1), "drop": In(1), "full": Out(1),
            "o": o_stream(8),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=8, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port()
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        committed = Signal(range(self.depth))
        take = Signal()
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(self.data),
            write.en.eq(self.write),
            read.addr.eq(tail),
            read.en.eq(take),
            take.eq((tail != committed) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            self.full.eq((head + 1)[: len(head)] == tail),
            self.o.valid.eq(take | (self.o.valid & ~self.o.ready)),
            tail.eq(tail + take),
        ]
        with m.If(self.drop):
            m.d.sync += head.eq(committed)
        with m.Elif(self.write):
            m.d.sync += head.eq(head + 1)
        with m.If(self.commit):
            m.d.sync += committed.eq(head)
        return m


class FrameReceiver(wiring.Component):
    """Find requests among characters, write them to the buffer, and commit those that are right.

    It takes a character every ``interval`` cycles, and commits a request ``latency`` cycles after
    its last character.

    Members
    -------
    valid, data, error : In
        Of a :class:`~lightmamba.hardware.soc.uart.UartReceiver`.
    quiet : In
        No character has come for so long that a frame counts as ended.
    write, o_data, commit, drop : Out
        For the buffer: header and payload of a request.
    full : In
        Of the buffer.
    broken : Out
        Status of a broken request, until it is ``taken``; 0 if there is none.
    taken : In
    """

    latency, interval = 9, 10

    def __init__(self) -> None:
        super().__init__({
            "valid": In(1), "data": In(8), "error": In(1), "quiet": In(1), "full": In(1),
            "taken": In(1), "write": Out(1), "o_data": Out(8), "commit": Out(1), "drop": Out(1),
            "broken": Out(4),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32()
        # A request is a header, a payload and a CRC; `last` says that a part's last byte is due.
        left = Signal(range(BLOCK + 1))
        header, stored = Signal(), Signal()
        payload = Signal()  # the operation has one
        low = Signal(8)  # of the count, the header's last two bytes
        count, last, fault = Signal(16), Signal(), Signal(4)
        m.d.comb += [
            crc.data.eq(self.data),
            self.o_data.eq(self.data),
            count.eq(Cat(low, self.data)),
            last.eq(left == 1),
        ]
        with m.If(self.taken):
            m.d.sync += self.broken.eq(0)
        with m.If(fault.any()):
            m.d.comb += self.drop.eq(1)
            m.d.sync += self.broken.eq(fault)

        with m.FSM():
            with m.State("HUNT"), m.If(self.valid & ~self.error & (self.data == START_REQUEST)):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [left.eq(HEADER_BYTES), header.eq(1), stored.eq(1)]
                m.next = "BODY"
            with m.State("BODY"):
                with m.If(self.valid):
                    m.d.comb += [crc.load.eq(1), self.write.eq(stored & ~self.full)]
                    m.d.sync += [left.eq(left - 1), low.eq(self.data)]
                    with m.If(header & (left == HEADER_BYTES)):
                        m.d.sync += payload.eq(self.data[PAYLOAD.bit_length() - 1])
                    with m.If(last):
                        more = header & payload & count.any()
                        m.d.sync += [
                            left.eq(Mux(more, count, CRC_BYTES)), stored.eq(more), header.eq(0),
                        ]  # fmt: skip
                        with m.If(~stored):
                            m.next = "CHECK"
                with m.If(self.valid & self.error):
                    m.d.comb += fault.eq(Status.LINE)
                with m.Elif(self.valid & stored & self.full):
                    m.d.comb += fault.eq(Status.OVERRUN)
                with m.Elif(self.valid & header & last & (count > BLOCK)):
                    m.d.comb += fault.eq(Status.OVERLONG)
                with m.Elif(self.quiet):
                    m.d.comb += fault.eq(Status.CUT)
                with m.If(fault.any()):
                    m.next = "DISCARD"
            with m.State("CHECK"), m.If(~crc.busy):
                m.next = "HUNT"
                with m.If(crc.value == RESIDUE):
                    m.d.comb += self.commit.eq(1)
                with m.Else():
                    m.d.comb += fault.eq(Status.CRC)
                    m.next = "DISCARD"
            with m.State("DISCARD"), m.If(self.quiet):
                m.next = "HUNT"
        return m
