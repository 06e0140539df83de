"""Commands of the lanes' readers where a unit chooses, while a token runs, which weights come."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In

from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS
from lightmamba.hardware.rtl.memory.prefetch import PENDING

__all__ = ["RUN", "Runs"]

RUN = data.StructLayout({"offset": COUNT_BITS, "count": COUNT_BITS})


class Runs(wiring.Component):
    """Ask for runs of weights, the same of every lane: fixed ones and, of a choice, blocks.

    A lane has the layers in order, then the head. Where blocks are chosen, all of a layer's lie
    behind its fixed run, one behind the other, each in two parts, and the next fixed run lies
    behind them. Of the chosen ones the first parts are read one block ahead of the second parts:
    those of blocks a, b and c as a1, b1, a2, c1, b2, c2.

    When ``run`` rises, the first fixed run is asked for. Then, if ``chooses``, blocks as they are
    chosen, and the fixed run behind them, until a choice ``ends`` the layers. Then, for the token
    that has started, the head if it is wanted; and the first run of the next token. A command
    follows its choice by ``latency`` cycles; where nothing is waited for, a choice is taken every
    ``interval`` cycles, for two commands.

    Parameters
    ----------
    choice : data.StructLayout
        Payload of a choice: ``block`` (its number), ``last`` (none of this layer follows),
        ``first`` and ``whole`` (beats of its first part, of both), ``every`` (beats of all blocks
        of the layer), ``then`` (beats of the fixed run behind them), ``ends`` (no other layer has
        blocks). All but the block and ``last`` are the same for a layer.

    Members
    -------
    run : In
        Prefetch is allowed. When it falls, nothing more is asked for; it falls between tokens.
    start, head : In
        Pulse: a token starts, and whether the head is wanted.
    chooses : In
        There are layers whose blocks are chosen.
    layers_count, head_count : In(u32)
        Beats of the first fixed run, or of all layers, and of the head. Stable while ``run`` is 1.
    i : In(stream of choice)
    o : Out(stream of RUN)
        Beats from the beginning of a lane's weights, and how many.
    """

    latency, interval = 3, 5

    run: Any
    start: Any
    head: Any
    chooses: Any
    layers_count: Any
    head_count: Any
    i: Any
    o: Any

    def __init__(self, choice: data.StructLayout) -> None:
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "head": In(1),
                "chooses": In(1),
                "layers_count": In(COUNT_BITS),
                "head_count": In(COUNT_BITS),
                "i": i_stream(choice),
                "o": o_stream(RUN),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pending = pending = fifo.SyncFIFO(width=1, depth=PENDING)
        m.d.comb += [
            pending.w_en.eq(self.run & self.start),
            pending.w_data.eq(self.head),
        ]
        given, asked = self.i.payload, self.o.payload
        at = Signal(COUNT_BITS)  # behind everything that comes before the next fixed run
        block, before = (Signal(COUNT_BITS, name=name) for name in ("block", "before"))
        again, ends = Signal(), Signal()  # a block came before this one; no choice follows
        product, behind = Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.sync += [product.eq(given.block * given.whole), behind.eq(at + given.every)]

        def ask(offset: Any, count: Any) -> list[Any]:
            return [self.o.valid.eq(1), asked.offset.eq(offset), asked.count.eq(count)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += pending.r_en.eq(~self.run)
                m.d.sync += [at.eq(self.layers_count), ends.eq(~self.chooses)]
                with m.If(self.run):
                    m.d.sync += ask(0, self.layers_count)
                    m.next = "FIXED"
            with m.State("FIXED"), m.If(self._gone(m)):
                m.d.sync += again.eq(0)
                m.next = "CHOICE"
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(ends):
                    m.next = "END"
            with m.State("CHOICE"):
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(self.i.valid):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += block.eq(at + product)
                m.next = "FIRST"
            with m.State("FIRST"):
                m.d.sync += ask(block, given.first)
                m.next = "SECOND"
            with m.State("SECOND"), m.If(self._gone(m)):
                m.d.sync += [before.eq(block), again.eq(1)]
                m.next = "NEXT"
                with m.If(again):
                    m.d.sync += ask(before + given.first, given.whole - given.first)
            with m.State("NEXT"), m.If(self._gone(m)):
                m.d.comb += self.i.ready.eq(~given.last)
                m.next = "CHOICE"
                with m.If(given.last):
                    m.d.sync += ask(before + given.first, given.whole - given.first)
                    m.next = "BEHIND"
            with m.State("BEHIND"), m.If(self._gone(m)):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [at.eq(behind + given.then), ends.eq(given.ends)]
                with m.If(given.then.any()):
                    m.d.sync += ask(behind, given.then)
                m.next = "FIXED"
            with m.State("END"):
                m.d.comb += pending.r_en.eq(self.run)
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(pending.r_rdy):
                    with m.If(pending.r_data):
                        m.d.sync += ask(at, self.head_count)
                    m.next = "HEAD"
            with m.State("HEAD"), m.If(self._gone(m)):
                m.next = "IDLE"
        return m

    def _gone(self, m: Module) -> Any:
        """Whether what was asked for is taken, or nothing was."""
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return ~self.o.valid | self.o.ready
