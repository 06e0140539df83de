"""A queue from one clock domain to another."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import cdc, memory, wiring
from amaranth.utils import exact_log2

from lightmamba.hardware.rtl.layouts import i_stream, o_stream

__all__ = ["ClockQueue"]


class ClockQueue(wiring.Component):
    """First in, first out, from one clock domain to another whose clock has any ratio and phase.

    One transfer per cycle of the slower clock, if ``depth`` is 8 or more. An entry is at the output
    ``latency`` cycles of ``target`` after the edge that follows its transfer, or one more. Only
    Gray counters cross, through two registers each; every flag that a stream sees is a register.

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
        After that of the memory, each of one entry. The memory's output is late, so a reader that
        lies far away takes two.

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

        # An entry goes from the memory to its output register, and through the others to `o`.
        some, fetched = Signal(), Signal()
        between = range(1, self.registers)
        valid = [fetched, *(Signal(name=f"valid_{n}") for n in between), self.o.valid]
        entry = [reads.data, *(Signal.like(taken, name=f"entry_{n}") for n in between), taken]
        ready: Value = self.o.ready
        for n in reversed(range(self.registers)):
            moves = Signal(name=f"moves_{n}")
            m.d.comb += moves.eq(~valid[n + 1] | ready)
            with m.If(moves):
                m.d[self.target] += [valid[n + 1].eq(valid[n]), entry[n + 1].eq(entry[n])]
            ready = moves
        next_read = _count(m, self.target, read, fetch, reads.addr)
        m.d.comb += [fetch.eq(some & (~fetched | ready)), reads.en.eq(fetch)]
        m.d[self.target] += [
            some.eq(Mux(fetch, next_read != seen_written, read != seen_written)),
            fetched.eq(fetch | (fetched & ~ready)),
        ]
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
