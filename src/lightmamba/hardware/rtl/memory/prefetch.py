"""Commands of the readers and writers: what each token takes from memory, in its order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.latency import BEGIN
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS, READ, WRITE

__all__ = ["LAYER_BITS", "LayerWalk", "Segments", "Walk"]

PENDING = 4  # tokens whose commands wait for their turn
LAYER_BITS = 16


class Segments(wiring.Component):
    """Ask for a static stream, always one token ahead.

    When ``run`` rises, for the layers of the first token; at every start, for the head's segment if
    it is wanted, and for the layers of the next token. The segment of the LM head is right behind
    the layers. ``latency`` cycles lie between a start and its first command.

    Parameters
    ----------
    beat_bytes : int
        What the counts count, a power of two.

    Members
    -------
    run : In
        Prefetch is allowed. When it falls, nothing more is asked for.
    start, head : In
        Pulse: a token starts, and whether the head is wanted.
    base : In(u44)
        Address of the layers.
    layers_count, head_count : In(u32)
        Beats of each segment. All three are stable while ``run`` is 1.
    o : Out(stream of READ)
    """

    latency, interval = BEGIN, 1

    def __init__(self, beat_bytes: int) -> None:
        self.places = exact_log2(beat_bytes)
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "head": In(1),
                "base": In(ADDRESS_BITS),
                "layers_count": In(COUNT_BITS),
                "head_count": In(COUNT_BITS),
                "o": o_stream(READ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pending = pending = fifo.SyncFIFO(width=1, depth=PENDING)
        head_base = Signal(ADDRESS_BITS, reset_less=True)
        ran = Signal()
        m.d.sync += [
            head_base.eq(self.base + (self.layers_count << self.places)),
            ran.eq(self.run),
        ]
        m.d.comb += [
            pending.w_en.eq(self.run & (self.start | ~ran)),
            pending.w_data.eq(self.start & self.head),
        ]

        payload = self.o.payload
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += pending.r_en.eq(1)
                with m.If(pending.r_rdy & self.run):
                    with m.If(pending.r_data):
                        m.next = "HEAD"
                    with m.Else():
                        m.next = "LAYERS"
            with m.State("HEAD"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    payload.address.eq(head_base),
                    payload.count.eq(self.head_count),
                ]
                with m.If(self.o.ready):
                    with m.If(self.run):
                        m.next = "LAYERS"
                    with m.Else():
                        m.next = "IDLE"
            with m.State("LAYERS"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    payload.address.eq(self.base),
                    payload.count.eq(self.layers_count),
                ]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


class LayerWalk(wiring.Component):
    """Ask for a state layer by layer, and say where its new values go.

    A layer is read only when the write of the same layer by the last token has been answered: each
    read takes one of ``layers`` credits, each write gives one back. Reads and writes come in the
    order of the layers, each in its own time. ``latency`` cycles lie between a start and its first
    command; one command per cycle on each stream.

    Members
    -------
    run : In
        While 0, all credits are here and nothing new is asked for. It falls only between tokens.
    start, fresh : In
        Pulse: a token starts, and whether its state is zero instead of what memory holds.
    layers : In(u16)
        Layers of the model.
    base, stride : In(u44), In(u32)
        Address of the first layer, and bytes from one layer to the next.
    count : In(u32)
        Words of a layer. All four are stable while a pass works.
    written : In
        Pulse: the write of a layer has been answered.
    o : Out(stream of READ)
    o_write : Out(stream of WRITE)
    """

    latency, interval = BEGIN, 1

    def __init__(self) -> None:
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "fresh": In(1),
                "layers": In(LAYER_BITS),
                "base": In(ADDRESS_BITS),
                "stride": In(COUNT_BITS),
                "count": In(COUNT_BITS),
                "written": In(1),
                "o": o_stream(READ),
                "o_write": o_stream(WRITE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reads = reads = Walk()
        m.submodules.writes = writes = Walk()
        credit = Signal(LAYER_BITS + 1)  # less one: its highest bit says that there is none
        for walk, o in ((reads, self.o), (writes, self.o_write)):
            m.d.comb += [
                walk.run.eq(self.run),
                walk.start.eq(self.start),
                walk.fresh.eq(self.fresh),
                walk.layers.eq(self.layers),
                walk.base.eq(self.base),
                walk.stride.eq(self.stride),
                o.valid.eq(walk.o.valid),
                walk.o.ready.eq(o.ready),
                o.payload.address.eq(walk.o.payload.address),
                o.payload.count.eq(self.count),
            ]
        m.d.comb += [
            self.o.payload.zero.eq(reads.o.payload.zero),
            reads.allowed.eq(~credit[-1]),
            writes.allowed.eq(1),
        ]
        with m.If(self.run):
            m.d.sync += credit.eq(credit + self.written - (self.o.valid & self.o.ready))
        with m.Else():
            m.d.sync += credit.eq(self.layers - 1)
        return m


class Walk(wiring.Component):
    """One command per layer and token, each when ``allowed``, which never falls before a command.

    Tokens that start too early wait; ``fresh`` comes out as ``zero``.

    Members
    -------
    run, start, fresh, layers, base, stride : In
        As of :class:`LayerWalk`.
    allowed : In
    o : Out(stream of READ)
        Its ``count`` stays 0.
    """

    latency, interval = BEGIN, 1

    def __init__(self) -> None:
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "fresh": In(1),
                "layers": In(LAYER_BITS),
                "base": In(ADDRESS_BITS),
                "stride": In(COUNT_BITS),
                "allowed": In(1),
                "o": o_stream(READ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pending = pending = fifo.SyncFIFO(width=1, depth=PENDING)
        active = Signal()
        left = Signal(LAYER_BITS, reset_less=True)
        payload = self.o.payload
        m.d.comb += [
            pending.w_en.eq(self.start & self.run),
            pending.w_data.eq(self.fresh),
            pending.r_en.eq(~active | ~self.run),
            self.o.valid.eq(active & self.allowed),
        ]
        begin = Signal()
        m.d.comb += begin.eq(~active & pending.r_rdy & self.run & self.layers.any())
        with m.If(~active):
            m.d.sync += [
                active.eq(begin),
                left.eq(self.layers),
                payload.address.eq(self.base),
                payload.zero.eq(pending.r_data),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                active.eq(left != 1),
                left.eq(left - 1),
                payload.address.eq(payload.address + self.stride),
            ]
        # What is offered stays so until it is taken; the rest is dropped.
        with m.If(~self.run & (~self.o.valid | self.o.ready)):
            m.d.sync += active.eq(0)
        return m
