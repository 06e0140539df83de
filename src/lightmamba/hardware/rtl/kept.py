"""Sums of out_proj that are kept, and those of later vectors added to them."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.pipe import Pipe, Timed

__all__ = ["KEPT", "KeptSums"]

KEPT = 3  # cycles from sums to those that they are added to
LOW = 28  # bits of a sum that are added a cycle before the others


class KeptSums(wiring.Component):
    """Add sums of out_proj, slot by slot, to what jobs before left, and keep or emit the result.

    One that emits leaves nothing behind, so the next adds to nothing. Jobs of other matrices, which
    go through, may come in between. The sums of two jobs are five cycles apart at least; those of
    one come at any rate.

    Source: ``numerics.linear.Projection``, whose sums over channels are exact in any order.

    Parameters
    ----------
    config : ArchConfig

    Members
    -------
    valid : In(1)
        Sums of a part of a slot are there.
    out, keep, final : In(1)
        They are of out_proj; they stay here; they are the last ones of a job, for all of which the
        first two are the same.
    sums : In(lanes x signed(acc_bits)), of one token after the other
    emits : Out(1)
        ``latency`` cycles later, for those that do not stay.
    o : Out, alike
        With everything that was kept of their slot.
    """

    latency, interval = KEPT, 1

    valid: Any
    out: Any
    keep: Any
    final: Any
    sums: Any
    emits: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        self.slots = -(-config.in_channels // config.lanes)
        layout = data.ArrayLayout(signed(config.acc_bits), config.tokens * config.lanes)
        super().__init__(
            {
                "valid": In(1),
                "out": In(1),
                "keep": In(1),
                "final": In(1),
                "sums": In(layout),
                "emits": Out(1),
                "o": Out(layout),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.sums.shape()
        stored = memory.Memory(shape=shape.size, depth=max(2, self.slots), init=[])
        m.submodules.stored = stored
        write, read = stored.write_port(), stored.read_port()
        slot = Signal(range(max(2, self.slots)))
        holds = Signal()  # something of jobs before
        after = Signal.like(slot)
        m.d.comb += [
            after.eq(Mux(self.valid, Mux(self.final, 0, slot + 1), slot)),
            read.addr.eq(after),  # it is there when its sums are, at the earliest
        ]
        m.d.sync += slot.eq(after)
        with m.If(self.valid & self.out & self.final):
            m.d.sync += holds.eq(self.keep)

        pipe = Pipe(m)
        adds = pipe.step(lambda v: v, pipe.input(holds & self.out))
        total = [self._added(pipe, adds, read, n) for n in range(len(self.sums))]
        place = pipe.delay(pipe.input(slot), KEPT)
        m.d.comb += [
            self.o.as_value().eq(Cat(total)),
            self.emits.eq(pipe.valid(self.valid & ~self.keep, KEPT)),
            write.addr.eq(place.value),
            write.data.eq(self.o.as_value()),
            write.en.eq(pipe.valid(self.valid & self.keep, KEPT)),
        ]
        return m

    def _added(self, pipe: Pipe, adds: Timed, read: Any, number: int) -> Value:
        """A sum, and what was kept of it; the lower bits a cycle before the upper ones."""
        sums = self.sums[number]
        new = pipe.step(lambda v: v, pipe.input(sums))
        old = pipe.step(lambda v: v, pipe.input(read.data.word_select(number, len(sums))))
        kept = pipe.comb(lambda a, v: Mux(a, v, 0), adds, old)
        low = pipe.step(lambda a, b: a[:LOW] + b[:LOW], kept, new)
        above, others = (pipe.step(lambda v: v[LOW:], each) for each in (kept, new))
        high = pipe.step(lambda a, b, c: (a + b + c[LOW])[: len(sums) - LOW], above, others, low)
        return Cat(pipe.delay(low, high.stage).value[:LOW], high.value)
