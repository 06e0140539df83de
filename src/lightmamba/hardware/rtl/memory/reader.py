"""Readers: commands in, beats or words of memory out, never asked for without room."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.latency import READER, READER_DATA, WORD_READER_DATA
from lightmamba.arch.ports import gear
from lightmamba.hardware.rtl.job import Countdown
from lightmamba.hardware.rtl.layouts import WORD, i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import (
    COUNT_BITS,
    INCREMENTING,
    READ,
    Bursts,
    beats_of,
    master,
)

__all__ = ["Reader", "Unpacker", "WordReader"]

AHEAD = 4  # commands whose beats a word reader may ask for before it hands out their words


class Reader(wiring.Component):
    """Read beats in bursts, as many outstanding as the queue has room for.

    The whole room of a burst is reserved before its address goes out, and ``rready`` is always 1;
    nothing is asked for unless there is room for the longest burst.
    One beat per cycle, and one address per cycle. ``latency`` cycles lie between a command and its
    first address, ``data_latency`` between a beat from memory and ``o``. A command of zeros waits
    until all that was asked for has come.

    Parameters
    ----------
    port_bits : int
        Bits of a beat.
    depth : int
        Beats of the queue, at least one whole burst.
    burst_beats : int
        Beats of a whole burst; none crosses a border of 4 KiB.

    Members
    -------
    command : In(stream of READ)
        ``count`` beats from ``address`` (a multiple of a beat); with ``zero``, zeros instead.
    o : Out(stream of unsigned(port_bits))
        Beats, in the order of the commands.
    axi : Out(AXI4 read master)
        Its id is 0.
    hold : In
        While 1, nothing new is asked for, two cycles later at most.
    flush : In
        While 1, nothing new is asked for; what is here, what arrives and commands are dropped.
        Hold it until ``drained``.
    drained : Out
        Nothing is under way, outstanding or queued.
    """

    latency, data_latency, interval = READER, READER_DATA, 1

    def __init__(self, port_bits: int, depth: int, burst_beats: int) -> None:
        self.bursts = Bursts(port_bits, burst_beats)
        if depth < self.bursts.burst_beats:
            raise ValueError(f"depth must hold a burst of {burst_beats} beats, not {depth}")
        self.port_bits, self.depth, self.burst_beats = port_bits, depth, burst_beats
        super().__init__(
            {
                "command": i_stream(READ),
                "o": o_stream(unsigned(port_bits)),
                "axi": Out(master(port_bits, write=False)),
                "hold": In(1),
                "flush": In(1),
                "drained": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.bursts = bursts = self.bursts
        # One entry more than can be reserved: the queue is slow to see its first entry leave.
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=self.port_bits, depth=self.depth + 1
        )
        wiring.connect(m, wiring.flipped(self.command), bursts.command)
        m.d.comb += bursts.flush.eq(self.flush)

        burst = bursts.o.payload
        free = Signal(range(self.depth + 1), init=self.depth)  # beats that may still be asked for
        owed = Signal(range(self.depth + 1))  # beats that memory has yet to send
        # Both are of the last cycle, hence careful about what was asked for in it.
        fits, settled = Signal(), Signal()
        ask, make, leave = Signal(), Signal(), Signal()  # a burst; a zero; a beat goes
        longest = bursts.burst_beats
        room = Mux(ask, free >= 2 * longest, Mux(make, free > longest, free >= longest))
        m.d.sync += [
            fits.eq(room & ~self.hold),
            settled.eq((owed == 0) & ~ask),
        ]
        may = bursts.o.valid & fits & ~self.flush
        m.d.comb += [
            ask.eq(may & ~burst.zero & (~axi.arvalid | axi.arready)),
            make.eq(may & burst.zero & settled),
            bursts.o.ready.eq(ask | make),
            leave.eq(queue.r_rdy & queue.r_en),
        ]
        m.d.sync += [
            free.eq(free - Mux(ask | make, burst.beats, 0) + leave),
            owed.eq(owed + Mux(ask, burst.beats, 0) - axi.rvalid),
        ]

        m.d.comb += [
            axi.arsize.eq(bursts.size),
            axi.arburst.eq(INCREMENTING),
            axi.rready.eq(1),
        ]
        with m.If(ask):
            m.d.sync += [
                axi.arvalid.eq(1),
                axi.araddr.eq(burst.address),
                axi.arlen.eq(burst.beats - 1),
            ]
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)

        m.d.comb += [
            queue.w_en.eq(axi.rvalid | make),
            queue.w_data.eq(Mux(make, 0, axi.rdata)),
            queue.r_en.eq(self.o.ready | self.flush),
            self.o.valid.eq(queue.r_rdy & ~self.flush),
            self.o.payload.eq(queue.r_data),
            self.drained.eq((free == self.depth) & ~bursts.busy),
        ]
        return m


class Unpacker(wiring.Component):
    """Take beats apart into words of 64 bits, the lowest first.

    What follows the last word of a segment in its last beat is dropped. One word per cycle, or per
    ``interval`` cycles where it fills several beats; a command costs one cycle at most.

    Members
    -------
    command : In(stream of u32)
        Words of a segment; the next segment begins with the next beat.
    i : In(stream of unsigned(port_bits))
    o : Out(stream of WORD)
    flush : In
        While 1, everything is dropped.
    busy : Out
        A segment is not yet handed out.
    """

    latency = 1

    def __init__(self, port_bits: int) -> None:
        self.port_bits = port_bits
        self.beats, self.words = gear(WORD_BITS, port_bits)
        self.interval = self.beats
        super().__init__(
            {
                "command": i_stream(unsigned(COUNT_BITS)),
                "i": i_stream(unsigned(port_bits)),
                "o": o_stream(WORD),
                "flush": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = exact_log2(self.words)
        whole = Countdown(COUNT_BITS)  # whole beats to come
        tail = Signal(range(self.words))  # words of the one after them
        beat = Signal(max(self.port_bits, WORD_BITS), reset_less=True)  # or a word of several
        have = Signal(range(self.words + 1))  # words left in it
        part = Signal(range(max(2, self.beats)))  # of a word
        whole_word = part == self.beats - 1
        more, free = Signal(), Signal()
        m.d.comb += [
            more.eq(whole.some | tail.any()),
            free.eq((have == 0) | ((have == 1) & self.o.ready)),
            self.command.ready.eq(~more | self.flush),
            self.i.ready.eq((more & free) | self.flush),
            self.o.valid.eq((have != 0) & ~self.flush),
            self.o.payload.eq(beat),
            self.busy.eq(more | (have != 0)),
        ]
        with m.If(self.command.valid & ~more):
            m.d.sync += [
                *whole.load(self.command.payload[places:]),
                tail.eq(self.command.payload[:places]),
            ]
        with m.If(self.i.valid & more & free):
            m.d.sync += beat.eq(Cat(beat[self.port_bits :], self.i.payload))
            if self.beats > 1:
                m.d.sync += part.eq(part + 1)
            with m.If(~whole_word):
                m.d.sync += have.eq(0)
            with m.Elif(whole.some):
                m.d.sync += [*whole.step(), have.eq(self.words)]
            with m.Else():
                m.d.sync += [tail.eq(0), have.eq(tail)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [beat.eq(beat >> WORD_BITS), have.eq(have - 1)]
        with m.If(self.flush):
            m.d.sync += [*whole.load(C(0, 1)), tail.eq(0), have.eq(0), part.eq(0)]
        return m


class WordReader(wiring.Component):
    """A :class:`Reader` whose commands count words of 64 bits.

    Parameters as there (``depth`` in beats). One word per cycle, or as :class:`Unpacker` has them
    where a beat is narrower. Beats of the next commands are
    asked for while words of the first are handed out. ``latency`` cycles lie between a command and
    its first address, ``data_latency`` between a beat from memory and its first word.

    Members
    -------
    command : In(stream of READ)
        ``count`` words from ``address`` (a multiple of a beat).
    o : Out(stream of WORD)
    axi : Out(AXI4 read master)
    flush : In
    drained : Out
        As that of the reader.
    """

    latency, data_latency = READER, WORD_READER_DATA

    def __init__(self, port_bits: int, depth: int, burst_beats: int) -> None:
        self.port_bits, self.depth, self.burst_beats = port_bits, depth, burst_beats
        self.reader = Reader(port_bits, depth, burst_beats)
        self.unpacker = Unpacker(port_bits)
        self.interval = self.unpacker.interval
        super().__init__(
            {
                "command": i_stream(READ),
                "o": o_stream(WORD),
                "axi": Out(master(port_bits, write=False)),
                "flush": In(1),
                "drained": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        m.submodules.unpacker = unpacker = self.unpacker
        m.submodules.counts = counts = fifo.SyncFIFOBuffered(width=COUNT_BITS, depth=AHEAD)
        wiring.connect(m, reader.o, unpacker.i)
        wiring.connect(m, unpacker.o, wiring.flipped(self.o))
        wiring.connect(m, reader.axi, wiring.flipped(self.axi))
        command = self.command.payload
        m.d.comb += [
            reader.command.valid.eq(self.command.valid & counts.w_rdy),
            reader.command.payload.address.eq(command.address),
            reader.command.payload.count.eq(beats_of(command.count, self.port_bits)),
            reader.command.payload.zero.eq(command.zero),
            self.command.ready.eq(reader.command.ready & counts.w_rdy),
            counts.w_en.eq(self.command.valid & reader.command.ready & ~self.flush),
            counts.w_data.eq(command.count),
            unpacker.command.valid.eq(counts.r_rdy),
            unpacker.command.payload.eq(counts.r_data),
            counts.r_en.eq(unpacker.command.ready),
            reader.flush.eq(self.flush),
            unpacker.flush.eq(self.flush),
            self.drained.eq(reader.drained & (counts.level == 0) & ~unpacker.busy),
        ]
        return m
