"""Rows of memory: a beat of several channels each, read and written as if they were one memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.latency import READER, READER_DATA
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import INCREMENTING, READ, Bursts, master
from lightmamba.hardware.rtl.pipe import Ring

__all__ = ["RowReader", "RowWriter", "beat_layout"]

OPEN_BEATS = 16  # beats without a response
NEAR = 6  # channels whose answers are counted in a cycle


class RowReader(wiring.Component):
    """Read rows in bursts: the same beats of every channel, as many as their queues have room for.

    The whole room of a burst is reserved before its addresses go out, and ``rready`` is always 1.
    One row a cycle, and addresses every other cycle. ``latency`` cycles lie between a command and
    its first addresses, ``data_latency`` between the last beat of a row and ``o``.

    Parameters
    ----------
    channels : int
    port_bits : int
        Bits of a beat.
    depth : int
        Rows that wait, at least one whole burst.
    burst_beats : int
        Beats of a whole burst; none crosses a border of 4 KiB.

    Members
    -------
    base : In(u44) per channel
        Address of its part, a multiple of 4 KiB; stable while a command is under way.
    command : In(stream of READ)
        ``count`` rows; ``address`` is that of the first one's beats behind ``base``. Its ``zero``
        is 0.
    o : Out(stream of unsigned(channels · port_bits))
        Rows, the first channel's beat lowest.
    axi : Out(AXI4 read master) per channel
    flush : In
        While 1, nothing new is asked for; what is here, what arrives and commands are dropped.
        Hold it until ``drained``.
    drained : Out
        Nothing is under way, outstanding or queued.
    """

    latency, data_latency, interval = READER, READER_DATA, 1

    def __init__(self, channels: int, port_bits: int, depth: int, burst_beats: int) -> None:
        self.bursts = Bursts(port_bits, burst_beats)
        if depth < self.bursts.burst_beats:
            raise ValueError(f"depth must hold a burst of {burst_beats} beats, not {depth}")
        self.channels, self.port_bits, self.depth = channels, port_bits, depth
        super().__init__(
            {
                "base": In(ADDRESS_BITS).array(channels),
                "command": i_stream(READ),
                "o": o_stream(unsigned(channels * port_bits)),
                "axi": Out(master(port_bits, write=False)).array(channels),
                "flush": In(1),
                "drained": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = self.bursts
        wiring.connect(m, wiring.flipped(self.command), bursts.command)
        burst, longest = bursts.o.payload, bursts.burst_beats
        free = Signal(range(self.depth + 1), init=self.depth)  # rows that may still be asked for
        taken = Signal.like(burst.beats)  # rows asked for in the last cycle; ``free`` has them yet
        fits = Signal()  # of the last cycle, hence careful about what was asked for in it
        ask, leave, asked, late = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            fits.eq(Mux(ask | late, free >= 2 * longest, free >= longest)),
            late.eq(ask),
            taken.eq(Mux(ask, burst.beats, 0)),
        ]
        m.d.comb += [
            bursts.flush.eq(self.flush),
            ask.eq(bursts.o.valid & fits & ~self.flush & ~asked),
            bursts.o.ready.eq(ask),
            asked.eq(Cat(axi.arvalid for axi in self.axi).any()),
            self.drained.eq((free == self.depth) & ~late & ~bursts.busy),
        ]
        m.d.sync += free.eq(free - taken + leave)

        queues = []
        for n, (axi, base) in enumerate(zip(self.axi, self.base, strict=True)):
            queue = Ring(width=self.port_bits, depth=self.depth)
            m.submodules[f"queue{n}"] = queue
            queues.append(queue)
            with m.If(ask):
                m.d.sync += [
                    axi.arvalid.eq(1),
                    axi.araddr.eq(base + burst.address),
                    axi.arlen.eq(burst.beats - 1),
                ]
            with m.Elif(axi.arready):
                m.d.sync += axi.arvalid.eq(0)
            m.d.comb += [
                axi.arsize.eq(bursts.size),
                axi.arburst.eq(INCREMENTING),
                axi.rready.eq(1),
                queue.w_en.eq(axi.rvalid),
                queue.w_data.eq(axi.rdata),
                queue.r_en.eq(leave),
            ]
        # Whether all are ready to be read, known a cycle before, since there are many.
        there, behind = Signal(), Cat(queue.some for queue in queues)
        ready = behind | Cat(queue.r_rdy for queue in queues)
        m.d.sync += there.eq(Mux(leave, behind.all(), ready.all()))
        m.d.comb += [
            leave.eq(there & (self.o.ready | self.flush)),
            self.o.valid.eq(there & ~self.flush),
            self.o.payload.eq(Cat(queue.r_data for queue in queues)),
        ]
        return m


def beat_layout(channels: int, port_bits: int) -> data.StructLayout:
    """A beat for one channel: where it goes behind the channel's base, and which bytes count.

    Nothing follows a ``last`` one before it is answered.
    """
    return data.StructLayout(
        {
            "channel": unsigned(max(1, (channels - 1).bit_length())),
            "address": unsigned(ADDRESS_BITS),
            "value": unsigned(port_bits),
            "strobe": unsigned(port_bits // 8),
            "last": 1,
        }
    )


class RowWriter(wiring.Component):
    """Write single beats, each to one of several channels.

    One beat every other cycle; ``latency`` cycles lie between a beat and its address.

    Parameters
    ----------
    channels : int
    port_bits : int
        Bits of a beat.

    Members
    -------
    base : In(u44) per channel
        Address of its part; stable while a beat is under way.
    i : In(stream of beat_layout)
    axi : Out(AXI4 write master) per channel
        ``bready`` is always 1.
    done : Out
        Pulse: the last beat, and all before it, are answered.
    busy : Out
        A beat is not answered.
    """

    latency, interval = 1, 2

    i: Any
    base: Any
    axi: Any

    def __init__(self, channels: int, port_bits: int) -> None:
        self.channels, self.port_bits = channels, port_bits
        super().__init__(
            {
                "base": In(ADDRESS_BITS).array(channels),
                "i": i_stream(beat_layout(channels, port_bits)),
                "axi": Out(master(port_bits, read=False)).array(channels),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given = self.i.payload
        value, strobe = Signal(self.port_bits), Signal(self.port_bits // 8)
        open_ = Signal(range(OPEN_BEATS + 1))  # beats without a response
        ending, sends, take, took = Signal(), Signal(), Signal(), Signal()
        # Answers of the last cycle but one, counted over some channels first.
        some = [self.axi[n : n + NEAR] for n in range(0, self.channels, NEAR)]
        near = [Signal(range(len(axi) + 1), name=f"near{n}") for n, axi in enumerate(some)]
        answers = Signal(range(self.channels + 1))
        m.d.comb += [
            sends.eq(Cat(axi.awvalid | axi.wvalid for axi in self.axi).any()),
            self.i.ready.eq(~sends & ~ending & (open_ != OPEN_BEATS)),
            take.eq(self.i.valid & self.i.ready),
            self.busy.eq(sends | open_.any() | ending),
            self.done.eq(ending & ~took & ~open_.any()),
        ]
        m.d.sync += [
            *(
                count.eq(sum(axi.bvalid for axi in part))
                for count, part in zip(near, some, strict=True)
            ),
            answers.eq(sum(near)),
            took.eq(take),
            open_.eq(open_ + took - answers),
        ]
        with m.If(take):
            m.d.sync += [value.eq(given.value), strobe.eq(given.strobe), ending.eq(given.last)]
        with m.Elif(self.done):
            m.d.sync += ending.eq(0)
        for n, (axi, base) in enumerate(zip(self.axi, self.base, strict=True)):
            m.d.comb += [
                axi.awsize.eq((self.port_bits // 8).bit_length() - 1),
                axi.awburst.eq(INCREMENTING),
                axi.wdata.eq(value),
                axi.wstrb.eq(strobe),
                axi.wlast.eq(1),
                axi.bready.eq(1),
            ]
            with m.If(take & (given.channel == n)):
                m.d.sync += [
                    axi.awvalid.eq(1), axi.wvalid.eq(1), axi.awaddr.eq(base + given.address),
                ]  # fmt: skip
            with m.Else():
                with m.If(axi.awready):
                    m.d.sync += axi.awvalid.eq(0)
                with m.If(axi.wready):
                    m.d.sync += axi.wvalid.eq(0)
        return m
