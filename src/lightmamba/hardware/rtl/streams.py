"""Small stream parts: a queue, a fork, and how to wire two streams of one width."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.latency import QUEUE
from lightmamba.hardware.rtl.layouts import i_stream, o_stream

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

    One transfer per cycle on both sides; latency two cycles. More than :data:`MEMORY_BITS` lie in
    several memories side by side.

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    level : Out
        Entries.
    """

    latency, interval = QUEUE, 1

    def __init__(self, shape: Any, depth: int) -> None:
        self.depth = max(3, depth)  # below that the memory has no addresses
        super().__init__(
            {"i": i_stream(shape), "o": o_stream(shape), "level": Out(range(self.depth + 1))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, rows = self.i, self.o, self.depth - 1  # one entry is at the output
        inside = Signal(range(rows + 1))  # entries of the memory
        # Registered, for a comparison before the count would make the longest path of a machine.
        room, some = Signal(init=1), Signal()  # inside != rows; inside != 0
        write, take = i.valid & room, some & (~o.valid | o.ready)
        m.d.comb += [i.ready.eq(room), self.level.eq(inside + o.valid)]
        m.d.sync += [
            inside.eq(inside + write - take),
            room.eq(take | ((inside != rows) & ~((inside == rows - 1) & write))),
            some.eq(write | (inside > 1) | ((inside == 1) & ~take)),
            o.valid.eq(some | (o.valid & ~o.ready)),
        ]
        places = []
        for moves in (write, take):
            places.append(place := Signal(range(rows)))
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == rows - 1, 0, place + 1))

        given, taken = Value.cast(i.payload), Value.cast(o.payload)
        piece = max(1, MEMORY_BITS // self.depth // COLUMN) * COLUMN
        for n, low in enumerate(range(0, len(given), piece)):
            bits = slice(low, low + piece)
            storage = memory.Memory(shape=len(given[bits]), depth=rows, init=[])
            m.submodules[f"storage{n}"] = storage
            writes, reads = storage.write_port(), storage.read_port()
            m.d.comb += [
                Cat(writes.addr, reads.addr).eq(Cat(places)),
                Cat(writes.en, reads.en).eq(Cat(write, take)),
                writes.data.eq(given[bits]),
                taken[bits].eq(reads.data),
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
