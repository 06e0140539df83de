"""A queue from one clock domain to another."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import cdc, memory, wiring
from amaranth.utils import exact_log2

from lightmamba.hardware.rtl.layouts import i_stream, o_stream

__all__ = ["ClockQueue"]


class ClockQueue(wiring.Component):
    """First in, first out, from one clock domain to another whose clock has any ratio and phase.

    One transfer per cycle of the slower clock, if ``depth`` is 8 or more. An entry is at the output
    ``latency`` cycles of ``target`` after the edge that follows its transfer, or one more. Only
    Gray counters cross, through two registers each; every flag that a stream sees is a register,
    and no path leads from a stream to the memory's output side.

    Both domains are reset together: there is a time when both resets are active and both clocks
    have run for three cycles.

    Parameters
    ----------
    shape
        Of an entry.
    depth : int
        Entries of the memory, a power of two from 4 on; more wait at the output.
    source, target : str
        Clock domains.
    registers : int
        From the memory to the output. The memory's output is late, so a reader that lies far away
        takes two.

    Members
    -------
    i : In(stream of shape)
        In the domain ``source``.
    o : Out(stream of shape)
        In the domain ``target``.
    """

    interval = 1

    def __init__(
        self, shape: Any, depth: int, source: str, target: str, *, registers: int = 1
    ) -> None:
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 4 on, not {depth}")
        if registers < 1:
            raise ValueError(f"registers must be 1 or more, not {registers}")
        self.depth, self.source, self.target = depth, source, target
        self.registers = registers
        self.places = registers + 2  # as many as the cycles until a place that was taken is given
        super().__init__({"i": i_stream(shape), "o": o_stream(shape)})

    @property
    def latency(self) -> int:
        """Cycles of ``target`` from a transfer to the output, see above."""
        return 4 + self.registers

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given, taken = Value.cast(self.i.payload), Value.cast(self.o.payload)
        storage = memory.Memory(shape=len(given), depth=self.depth, init=[])
        m.submodules.storage = storage
        writes = storage.write_port(domain=self.source)
        reads = storage.read_port(domain=self.target)
        write, fetch = Signal(), Signal()
        bits = exact_log2(self.depth) + 1  # one more, to tell full from empty
        written, read = (Signal(bits, name=f"{n}_gray") for n in ("written", "read"))
        seen_written, seen_read = (Signal(bits, name=f"seen_{n}") for n in ("written", "read"))
        m.submodules.to_target = cdc.FFSynchronizer(written, seen_written, o_domain=self.target)
        m.submodules.to_source = cdc.FFSynchronizer(read, seen_read, o_domain=self.source)

        room = Signal()
        next_written = _count(m, self.source, written, write, writes.addr)
        m.d.comb += [
            self.i.ready.eq(room),
            write.eq(self.i.valid & room),
            writes.en.eq(write),
            writes.data.eq(given),
        ]
        full = 3 << (bits - 2)  # a whole turn ahead: the two upper bits of the Gray code differ
        taken_all = seen_read ^ full
        m.d[self.source] += room.eq(Mux(write, next_written != taken_all, written != taken_all))

        # What is fetched flows on without a stop: one of the last registers is free for it. So the
        # reader's `ready`, which comes late, ends at these and at the count of them.
        some, take = Signal(), Signal()
        next_read = _count(m, self.target, read, fetch, reads.addr)
        m.d[self.target] += some.eq(Mux(fetch, next_read != seen_written, read != seen_written))
        free = Signal(self.places, init=-1)  # a one for each, from bit 0 on
        with m.If(fetch & ~take):
            m.d[self.target] += free.eq(free >> 1)
        with m.If(take & ~fetch):
            m.d[self.target] += free.eq(Cat(Const(1, 1), free))
        m.d.comb += [fetch.eq(some & free[0]), reads.en.eq(1)]

        comes, entry = fetch, Value.cast(reads.data)
        for n in range(self.registers):
            arrives = Signal(name=f"arrives_{n}")
            m.d[self.target] += arrives.eq(comes)
            if n:
                kept = Signal.like(taken, name=f"entry_{n}")
                m.d[self.target] += kept.eq(entry)
                entry = kept
            comes = arrives

        # A register that is not filled takes what comes by: the lowest one of them is then filled.
        filled = [Signal(name=f"filled_{n}") for n in range(self.places)]
        held = [taken, *(Signal.like(taken, name=f"held_{n}") for n in range(1, self.places))]
        m.d.comb += [self.o.valid.eq(filled[0]), take.eq(filled[0] & self.o.ready)]
        below, above = [Const(1), *filled], [*filled[1:], Const(0)]
        for n in range(self.places):
            with m.If(take | ~filled[n]):
                source = entry if n + 1 == self.places else Mux(filled[n + 1], held[n + 1], entry)
                m.d[self.target] += held[n].eq(source)
            with m.If(take):
                m.d[self.target] += filled[n].eq(above[n] | (filled[n] & comes))
            with m.Elif(below[n] & comes):
                m.d[self.target] += filled[n].eq(1)
        return m


def _count(m: Module, domain: str, gray: Signal, step: Signal, place: Value) -> Value:
    """Counter as a Gray code and as an address; the code after the next step.

    ``step`` comes late, so a comparison is made with both codes, and then one of them chosen.
    """
    ahead = Signal(len(gray), init=1, name=f"{gray.name}_ahead")
    here = Signal(len(place), name=f"{gray.name}_place")
    m.d.comb += place.eq(here)
    with m.If(step):
        m.d[domain] += [gray.eq(ahead ^ ahead >> 1), ahead.eq(ahead + 1), here.eq(ahead)]
    return ahead ^ ahead >> 1
