"""Small stream parts: a queue, a fork, and how to wire two streams of one width."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import Out

from lightmamba.rtl.layouts import i_stream, o_stream

__all__ = ["Fork", "StreamQueue", "join"]

MEMORY_BITS = 1 << 24  # of one memory; yosys reads none with more
COLUMN = 72  # bits of a word of UltraRAM, and of two block RAMs


def join(m: Module, o: Any, i: Any) -> None:
    """Wire an output stream to an input stream of the same width."""
    if len(Value.cast(o.payload)) != len(Value.cast(i.payload)):
        raise ValueError(
            f"streams of {len(Value.cast(o.payload))} and {len(Value.cast(i.payload))} bits"
        )
    m.d.comb += [
        i.valid.eq(o.valid),
        Value.cast(i.payload).eq(Value.cast(o.payload)),
        o.ready.eq(i.ready),
    ]


class StreamQueue(wiring.Component):
    """First in, first out: ``depth`` entries of ``shape``, three at least.

    One transfer per cycle on both sides; latency two cycles. A queue of more than
    :data:`MEMORY_BITS` is several side by side.

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    level : Out
        Entries.
    """

    latency, interval = 2, 1

    def __init__(self, shape: Any, depth: int) -> None:
        self.depth = max(3, depth)  # below that the library's queue has a memory without addresses
        super().__init__(
            {"i": i_stream(shape), "o": o_stream(shape), "level": Out(range(self.depth + 1))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given, taken = Value.cast(self.i.payload), Value.cast(self.o.payload)
        piece = max(1, MEMORY_BITS // self.depth // COLUMN) * COLUMN
        # Side by side: they move together, so the first one speaks for all.
        for low in range(0, len(given), piece):
            bits = slice(low, low + piece)
            queue = fifo.SyncFIFOBuffered(width=len(given[bits]), depth=self.depth)
            m.submodules[f"queue{low or ''}"] = queue
            m.d.comb += [
                queue.w_en.eq(self.i.valid),
                queue.w_data.eq(given[bits]),
                queue.r_en.eq(self.o.ready),
                taken[bits].eq(queue.r_data),
            ]
            if not low:
                m.d.comb += [
                    self.level.eq(queue.level),
                    self.i.ready.eq(queue.w_rdy),
                    self.o.valid.eq(queue.r_rdy),
                ]
        return m


class Fork(wiring.Component):
    """Give every beat of ``i`` to all of ``o[0]``, ``o[1]``, ... once, each in its own time.

    Combinational; the next beat is taken when the last of them has taken this one.

    Members
    -------
    i : In(stream of shape)
    o0, o1, ... : Out(stream of shape)
    """

    latency, interval = 0, 1

    def __init__(self, shape: Any, count: int) -> None:
        self.count = count
        super().__init__({"i": i_stream(shape)} | {f"o{n}": o_stream(shape) for n in range(count)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        finished = []
        for n in range(self.count):
            o = getattr(self, f"o{n}")
            taken = Signal(name=f"taken{n}")
            m.d.comb += [
                o.valid.eq(self.i.valid & ~taken),
                Value.cast(o.payload).eq(Value.cast(self.i.payload)),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += taken.eq(0)
            with m.Elif(o.valid & o.ready):
                m.d.sync += taken.eq(1)
            finished.append(taken | o.ready)
        m.d.comb += self.i.ready.eq(Cat(finished).all())
        return m
