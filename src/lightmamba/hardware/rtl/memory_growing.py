"""Memory of each sequence of a pass that grows with it: words for each position, by layer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.arch.contract import WORD
from lightmamba.arch.graph import Graph
from lightmamba.arch.ports import ADDRESS_BITS, of_token
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.rtl.axi import COUNT_BITS, READ, WRITE
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.rtl.memory_parts import Parts, positions_of
from lightmamba.hardware.rtl.memory_states import of_slot
from lightmamba.hardware.rtl.passes import slots_of
from lightmamba.hardware.rtl.prefetch import LAYER_BITS, PENDING, Walk
from lightmamba.hardware.rtl.streams import join

__all__ = ["GrowingWalk", "wire_growing"]

WORD_LOG2 = exact_log2(WORD)


class GrowingWalk(wiring.Component):
    """Ask for all words that a sequence has in a layer, and say where those of a pass go.

    Layer by layer, as :class:`lightmamba.hardware.rtl.prefetch.LayerWalk`: a layer is read only
    when the write of the same layer by the last token has been answered. What a pass adds lies
    behind what there is. ``latency`` cycles lie between a start and its first command.

    Members
    -------
    run, start, layers, base, stride, written : In
        As of ``LayerWalk``.
    begin : In
        Pulse: the pass of the last start begins, in the same cycle or later.
    before, more : In(u32)
        64-bit words of a layer that are there, and that the pass adds; of whole beats. They are
        taken with ``start``.
    positions : In(u32)
        Those that are there; taken with ``start``.
    o : Out(stream of READ)
        Nothing where nothing is there.
    o_write : Out(stream of WRITE)
    there : Out(u32)
        ``positions`` of the pass that has begun, from two cycles after its beginning on.
    """

    latency, interval = 3, 1

    run: Any
    start: Any
    begin: Any
    layers: Any
    base: Any
    stride: Any
    before: Any
    more: Any
    positions: Any
    written: Any
    o: Any
    o_write: Any
    there: Any

    def __init__(self) -> None:
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "begin": In(1),
                "layers": In(LAYER_BITS),
                "base": In(ADDRESS_BITS),
                "stride": In(COUNT_BITS),
                "before": In(COUNT_BITS),
                "more": In(COUNT_BITS),
                "positions": In(COUNT_BITS),
                "written": In(1),
                "o": o_stream(READ),
                "o_write": o_stream(WRITE),
                "there": Out(COUNT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        start, begun, latest = Signal(), Signal(), Signal(COUNT_BITS)
        m.d.sync += [start.eq(self.start), begun.eq(self.begin)]
        with m.If(self.start):
            m.d.sync += latest.eq(self.positions)
        with m.If(begun):
            m.d.sync += self.there.eq(latest)
        credit = Signal(LAYER_BITS + 1)  # less one: its highest bit says that there is none
        reads, before, _ = self._walk(m, "reads", start)
        writes, behind, more = self._walk(m, "writes", start)
        some = before.any()
        m.d.comb += [
            reads.allowed.eq(~credit[-1]),
            writes.allowed.eq(1),
            self.o.valid.eq(reads.o.valid & some),
            reads.o.ready.eq(self.o.ready | ~some),
            self.o.payload.address.eq(reads.o.payload.address),
            self.o.payload.count.eq(before),
            self.o_write.valid.eq(writes.o.valid),
            writes.o.ready.eq(self.o_write.ready),
            self.o_write.payload.address.eq(writes.o.payload.address + (behind << WORD_LOG2)),
            self.o_write.payload.count.eq(more),
        ]
        with m.If(self.run):
            m.d.sync += credit.eq(credit + self.written - (reads.o.valid & reads.o.ready))
        with m.Else():
            m.d.sync += credit.eq(self.layers - 1)
        return m

    def _walk(self, m: Module, name: str, start: Value) -> tuple[Walk, Value, Value]:
        """Walk of all layers, and ``before`` and ``more`` of the pass that it is at.

        A pass may start while one before it still waits for its turn.
        """
        m.submodules[name] = walk = Walk()
        m.submodules[f"{name}_words"] = words = fifo.SyncFIFO(width=2 * COUNT_BITS, depth=PENDING)
        layer, last = Signal(LAYER_BITS), Signal()
        taken = walk.o.valid & walk.o.ready
        stopped = ~self.run & ~walk.o.valid  # what is offered stays so until it is taken
        m.d.comb += [
            walk.run.eq(self.run),
            walk.start.eq(start),
            walk.layers.eq(self.layers),
            walk.base.eq(self.base),
            walk.stride.eq(self.stride),
            words.w_en.eq(self.start & self.run & self.layers.any()),
            words.w_data.eq(Cat(self.before, self.more)),
            last.eq(layer + 1 == self.layers),
            words.r_en.eq((taken & last) | stopped),
        ]
        with m.If(stopped):
            m.d.sync += layer.eq(0)
        with m.Elif(taken):
            m.d.sync += layer.eq(Mux(last, 0, layer + 1))
        return walk, words.r_data[:COUNT_BITS], words.r_data[COUNT_BITS:]


def wire_growing(m: Module, parts: Parts) -> None:
    """Read and write what the pass adds to its sequences."""
    graph = machine(parts.config.kinds)
    for client in clients(parts.config, "growing"):
        seen = positions_of(m, parts, client.name, COUNT_BITS)
        for n, slot in enumerate(slots_of(parts.host)):
            _slot(m, parts, graph, client.name, n, slot, seen[n])


def _slot(
    m: Module, parts: Parts, graph: Graph, client: str, n: int, slot: Any, positions: Value
) -> None:
    host, sequencer, name = parts.host, parts.sequencer, of_token(client, n)
    reader, writer = parts.readers[name], parts.writers[name]
    m.submodules[f"walk_{name}"] = walk = GrowingWalk()
    words, more = (getattr(host, f"slot_{client}_{what}")[n] for what in ("words", "more"))
    before: Value = words
    if n == 0:  # in a chain the first slot's sequence has a token more each time
        grown = Signal(COUNT_BITS)
        with m.If(sequencer.start & ~sequencer.busy):
            m.d.sync += grown.eq(0)
        with m.Elif(sequencer.state):
            m.d.sync += grown.eq(grown + more)
        before = (words + grown)[:COUNT_BITS]
    m.d.comb += [
        walk.run.eq(parts.run),
        walk.start.eq(sequencer.state & slot.used),
        walk.begin.eq(sequencer.begin),
        walk.layers.eq(getattr(host, f"{client}_layers")),
        walk.base.eq(getattr(host, f"slot_{client}")[n]),
        walk.stride.eq(getattr(host, f"{client}_stride")),
        walk.before.eq(before),
        walk.more.eq(more),
        walk.positions.eq(positions),
        walk.written.eq(writer.done),
    ]
    join(m, walk.o, reader.command)
    join(m, walk.o_write, writer.command)
    given, taken = (parts.units.port(of_slot(end, n)) for end in graph.ends(client))
    join(m, reader.o, given)
    join(m, taken, writer.i)
    seen = parts.units.port(f"{graph.client(client).taker}.{client}_before")
    m.d.comb += seen[n].eq(Mux(slot.used, walk.there, 0))
