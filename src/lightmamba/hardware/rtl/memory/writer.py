"""Writers: beats or words go to memory in bursts, each begun only when all of it is here."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.latency import OUTSTANDING, WRITER
from lightmamba.arch.ports import gear
from lightmamba.hardware.rtl.layouts import WORD, i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import (
    COUNT_BITS,
    INCREMENTING,
    WRITE,
    Bursts,
    beats_of,
    master,
)

__all__ = ["Packer", "WordWriter", "Writer"]

AHEAD = 4  # bursts whose address is out before their data; commands before a word writer's beats


class Writer(wiring.Component):
    """Write beats in bursts, several outstanding.

    An address goes out when its whole burst is buffered, so data never wait for a unit. All bytes
    are written. One beat per cycle, one address every other cycle; ``latency`` cycles lie between
    the last beat of a burst and its address, when nothing is before it.

    Parameters
    ----------
    port_bits : int
        Bits of a beat.
    depth : int
        Beats of the queue, at least one whole burst; two for full throughput.
    burst_beats : int
        Beats of a whole burst; none crosses a border of 4 KiB.

    Members
    -------
    command : In(stream of WRITE)
        ``count`` beats (at least one) to ``address`` (a multiple of a beat).
    i : In(stream of unsigned(port_bits))
        Beats, in the order of the commands; they may come before their command.
    axi : Out(AXI4 write master)
        Its id is 0, ``bready`` always 1.
    done : Out
        Pulse: all responses to the oldest command are in.
    busy : Out
        A command is not done.
    """

    latency, interval = WRITER, 1

    def __init__(self, port_bits: int, depth: int, burst_beats: int) -> None:
        self.bursts = Bursts(port_bits, burst_beats)
        if depth < self.bursts.burst_beats:
            raise ValueError(f"depth must hold a burst of {burst_beats} beats, not {depth}")
        self.port_bits, self.depth, self.burst_beats = port_bits, depth, burst_beats
        super().__init__(
            {
                "command": i_stream(WRITE),
                "i": i_stream(unsigned(port_bits)),
                "axi": Out(master(port_bits, read=False)),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.bursts = bursts = self.bursts
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.port_bits, depth=self.depth)
        burst = bursts.o.payload
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=len(burst.beats), depth=AHEAD)
        m.submodules.lasts = lasts = fifo.SyncFIFO(width=1, depth=OUTSTANDING)
        m.d.comb += [
            bursts.command.valid.eq(self.command.valid),
            bursts.command.payload.address.eq(self.command.payload.address),
            bursts.command.payload.count.eq(self.command.payload.count),
            self.command.ready.eq(bursts.command.ready),
            queue.w_en.eq(self.i.valid),
            queue.w_data.eq(self.i.payload),
            self.i.ready.eq(queue.w_rdy),
        ]

        # Addresses.
        stored = Signal(range(self.depth + 1))  # beats buffered that no address has claimed
        whole, ask = Signal(), Signal()  # a burst is buffered; its address goes
        complete = (stored >= burst.beats) & lengths.w_rdy & lasts.w_rdy
        m.d.sync += whole.eq(bursts.o.valid & complete & ~ask)
        m.d.comb += [
            ask.eq(whole & (~axi.awvalid | axi.awready)),
            bursts.o.ready.eq(ask),
            lengths.w_en.eq(ask),
            lengths.w_data.eq(burst.beats),
            lasts.w_en.eq(ask),
            lasts.w_data.eq(burst.last),
            axi.awsize.eq(bursts.size),
            axi.awburst.eq(INCREMENTING),
        ]
        m.d.sync += stored.eq(stored + (self.i.valid & self.i.ready) - Mux(ask, burst.beats, 0))
        with m.If(ask):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(burst.address),
                axi.awlen.eq(burst.beats - 1),
            ]
        with m.Elif(axi.awready):
            m.d.sync += axi.awvalid.eq(0)

        # Data, burst by burst; they do not wait for the address to be taken.
        left = Signal.like(burst.beats)
        sent = Signal()
        m.d.comb += [
            axi.wvalid.eq((left != 0) & queue.r_rdy),
            axi.wdata.eq(queue.r_data),
            axi.wstrb.eq(-1),
            axi.wlast.eq(left == 1),
            queue.r_en.eq((left != 0) & axi.wready),
            sent.eq(axi.wvalid & axi.wready),
            lengths.r_en.eq((left == 0) | (sent & axi.wlast)),
        ]
        with m.If(lengths.r_en):
            m.d.sync += left.eq(Mux(lengths.r_rdy, lengths.r_data, 0))
        with m.Elif(sent):
            m.d.sync += left.eq(left - 1)

        # Responses; those of one id come in order.
        m.d.comb += [
            axi.bready.eq(1),
            lasts.r_en.eq(axi.bvalid),
            self.busy.eq(bursts.busy | lasts.r_rdy | self.done),
        ]
        m.d.sync += self.done.eq(axi.bvalid & lasts.r_data)
        return m


class Packer(wiring.Component):
    """Put words of 64 bits together into beats, the first lowest; zeros fill a segment's last one.

    One word per cycle, or per ``interval`` cycles where it fills several beats; a command costs one
    cycle more.

    Members
    -------
    command : In(stream of u32)
        Words of a segment.
    i : In(stream of WORD)
    o : Out(stream of unsigned(port_bits))
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
                "i": i_stream(WORD),
                "o": o_stream(unsigned(port_bits)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(COUNT_BITS)
        m.d.comb += [
            self.command.ready.eq(left == 0),
            self.busy.eq((left != 0) | self.o.valid),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += left.eq(self.command.payload)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += left.eq(left - 1)
        if self.beats > 1:
            self._cut(m, left)
        else:
            self._join(m, left)
        return m

    def _cut(self, m: Module, left: Signal) -> None:
        """Several beats of a word, the lowest first."""
        word = Signal(WORD_BITS, reset_less=True)
        more = Signal(range(self.beats))  # beats after this one
        m.d.comb += [
            self.o.payload.eq(word),
            self.i.ready.eq((left != 0) & (~self.o.valid | (self.o.ready & (more == 0)))),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.payload), more.eq(self.beats - 1), self.o.valid.eq(1)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [
                word.eq(word >> self.port_bits), more.eq(more - 1), self.o.valid.eq(more != 0)
            ]  # fmt: skip

    def _join(self, m: Module, left: Signal) -> None:
        """A beat of several words."""
        slot = Signal(self.words, init=1)  # where the next word goes, one bit
        part = Signal(self.port_bits)
        full = Signal()
        beat = Cat(
            Mux(slot[n], self.i.payload, part.word_select(n, WORD_BITS)) for n in range(self.words)
        )
        m.d.comb += [
            full.eq(slot[-1] | (left == 1)),
            self.i.ready.eq((left != 0) & (~full | ~self.o.valid | self.o.ready)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(full):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(beat),
                    part.eq(0),
                    slot.eq(1),
                ]
            with m.Else():
                m.d.sync += [part.eq(beat), slot.eq(slot << 1)]


class WordWriter(wiring.Component):
    """A :class:`Writer` whose commands count words of 64 bits; zeros fill the last beat.

    Parameters as there (``depth`` in beats). One word per cycle, or as :class:`Packer` takes them.
    ``latency`` cycles lie between the last word of a burst and its address.

    Members
    -------
    command : In(stream of WRITE)
        ``count`` words (at least one) to ``address`` (a multiple of a beat).
    i : In(stream of WORD)
        Words, in the order of the commands.
    axi : Out(AXI4 write master)
    done, busy : Out
        As those of the writer.
    """

    latency = Writer.latency + Packer.latency

    def __init__(self, port_bits: int, depth: int, burst_beats: int) -> None:
        self.port_bits, self.depth, self.burst_beats = port_bits, depth, burst_beats
        self.writer = Writer(port_bits, depth, burst_beats)
        self.packer = Packer(port_bits)
        self.interval = self.packer.interval
        super().__init__(
            {
                "command": i_stream(WRITE),
                "i": i_stream(WORD),
                "axi": Out(master(port_bits, read=False)),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.writer = writer = self.writer
        m.submodules.packer = packer = self.packer
        m.submodules.commands = commands = fifo.SyncFIFO(width=WRITE.size, depth=AHEAD)
        wiring.connect(m, wiring.flipped(self.i), packer.i)
        wiring.connect(m, packer.o, writer.i)
        wiring.connect(m, writer.axi, wiring.flipped(self.axi))
        command = self.command.payload
        beats = Signal(COUNT_BITS)
        m.d.comb += [
            beats.eq(beats_of(command.count, self.port_bits)),
            self.command.ready.eq(packer.command.ready & commands.w_rdy),
            packer.command.valid.eq(self.command.valid & commands.w_rdy),
            packer.command.payload.eq(command.count),
            commands.w_en.eq(self.command.valid & packer.command.ready),
            commands.w_data.eq(Cat(command.address, beats)),
            writer.command.valid.eq(commands.r_rdy),
            writer.command.payload.eq(commands.r_data),
            commands.r_en.eq(writer.command.ready),
            self.done.eq(writer.done),
            self.busy.eq(writer.busy | packer.busy | commands.r_rdy),
        ]
        return m
