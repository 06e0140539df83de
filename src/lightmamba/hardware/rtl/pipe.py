"""Feed-forward pipelines: values that know their cycle, and a queue that takes what comes out.

A datapath here has no stall inside: a beat is issued only when the queue at the end has room for
it, so no ready net runs through the arithmetic, and its registers need neither enable nor reset.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Shape, Signal, Value
from amaranth.lib import fifo, memory
from amaranth.lib.wiring import PureInterface

__all__ = ["Pipe", "Queue", "Ring", "Timed"]


@dataclass(frozen=True)
class Timed:
    """A value and how many cycles after the issue it holds."""

    value: Value
    stage: int

    def __len__(self) -> int:
        return len(self.value)


class Pipe:
    """Build a pipeline in ``m``; every register is reset-less."""

    def __init__(self, m: Module) -> None:
        self.m = m
        self._delayed: dict[int, list[tuple[Value, int, Value]]] = {}

    def input(self, value: Any, stage: int = 0) -> Timed:
        """Value that holds ``stage`` cycles after the issue."""
        return Timed(Value.cast(value), stage)

    def delay(self, timed: Timed, stage: int) -> Timed:
        """Delay a value to a later cycle."""
        if stage < timed.stage:
            raise ValueError(f"a value of cycle {timed.stage} cannot be had at cycle {stage}")
        value = timed.value
        for at in range(timed.stage + 1, stage + 1):
            value = self._register(value, at)
        return Timed(value, stage)

    def _register(self, value: Value, stage: int) -> Value:
        known = self._delayed.setdefault(id(value), [])
        for source, at, register in known:
            if source is value and at == stage:
                return register
        register = Signal(value.shape(), reset_less=True, name=f"stage{stage}")
        self.m.d.sync += register.eq(value)
        known.append((value, stage, register))
        return register

    def settle(self, timed: Timed) -> Timed:
        """Delay a value by a cycle, in a register that resets.

        A chain of registers without reset may become a shift register of lookup tables, which
        takes as long as a wide addition to show what it holds.
        """
        register = Signal(timed.value.shape(), name=f"settled{timed.stage + 1}")
        self.m.d.sync += register.eq(timed.value)
        return Timed(register, timed.stage + 1)

    def align(self, *timed: Timed) -> list[Timed]:
        """Delay all to the latest of them."""
        latest = max(t.stage for t in timed)
        return [self.delay(t, latest) for t in timed]

    def comb(self, f: Callable[..., Any], *timed: Timed) -> Timed:
        """``f`` of the values, in the latest of their cycles."""
        aligned = self.align(*timed)
        return Timed(Value.cast(f(*(t.value for t in aligned))), aligned[0].stage)

    def step(self, f: Callable[..., Any], *timed: Timed, shape: Shape | int | None = None) -> Timed:
        """``f`` of the values, registered: one cycle after the latest of them."""
        result = self.comb(f, *timed)
        register = Signal(
            result.value.shape() if shape is None else shape,
            reset_less=True,
            name=f"stage{result.stage + 1}",
        )
        self.m.d.sync += register.eq(result.value)
        return Timed(register, result.stage + 1)

    def valid(self, issue: Value, stage: int) -> Signal:
        """``issue`` a number of cycles later; this one resets, since it must begin at 0."""
        value: Any = issue
        for at in range(1, stage + 1):
            register = Signal(name=f"valid{at}")
            self.m.d.sync += register.eq(value)
            value = register
        return value


class Ring(Elaboratable):
    """First in, first out, for a reader whose ready takes long: it ends in no counter.

    One transfer per cycle on both sides, two cycles from ``w_en`` to ``r_rdy``. There is room
    whenever something is written. ``some``: an entry waits behind what ``r_data`` shows.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        self.w_en, self.w_data = Signal(), Signal(width)
        self.r_rdy, self.r_en, self.r_data = Signal(), Signal(), Signal(width)
        self.some = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port()
        take, some = Signal(), self.some  # an entry goes to the output; there is one
        wrote, took = Signal(), Signal()  # in the last cycle, which ``level`` does not know of
        level, entries = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        m.d.comb += [
            take.eq(some & (~self.r_rdy | self.r_en)),
            entries.eq(level + wrote - took),
            write.en.eq(self.w_en),
            write.data.eq(self.w_data),
            read.en.eq(take),
            self.r_data.eq(read.data),
        ]
        m.d.sync += [
            level.eq(entries),
            wrote.eq(self.w_en),
            took.eq(take),
            some.eq(self.w_en | (entries > 1) | ((entries == 1) & ~take)),
            self.r_rdy.eq(some | (self.r_rdy & ~self.r_en)),
        ]
        for moves, place in ((self.w_en, write.addr), (take, read.addr)):
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
        return m


class Queue:
    """Queue at the end of a pipeline, with the credit that gates its issue.

    Parameters
    ----------
    m : Module
    o : stream interface
        Where results go.
    latency : int
        Cycles from an issue to its result.
    extra : int
        Entries beyond those that full throughput needs.
    settle : bool
        For an ``o`` whose ready takes long: credit comes back a cycle later.
    together : int
        Beats that are issued one after the other without a look at ``room`` in between.

    Attributes
    ----------
    room : Signal
        A beat, or all that go together, may be issued from this cycle on. Registered, so it delays
        nothing.
    busy : Signal
        Something is in flight or waits in the queue.
    """

    def __init__(
        self, m: Module, o: PureInterface, *, latency: int, extra: int = 0, settle: bool = False,
        together: int = 1,
    ) -> None:  # fmt: skip
        self.m, self.o, self.latency, self.settle = m, o, latency, settle
        self.depth = latency + 3 + settle + extra + together
        payload = Value.cast(o.payload)
        kind = Ring if settle else fifo.SyncFIFOBuffered
        queue = kind(width=len(payload), depth=self.depth)
        m.submodules += queue
        self._queue = queue
        # Credit less what goes together: its sign alone says whether there is room.
        whole = self.depth - together
        self._credit = Signal(range(-together, whole + 1), init=whole)
        self.room, self.busy = Signal(), Signal()
        m.d.comb += [
            self.room.eq(~self._credit[-1]),
            self.busy.eq(self._credit != whole),
            o.valid.eq(queue.r_rdy),
            payload.eq(queue.r_data),
            queue.r_en.eq(o.ready),
        ]

    def connect(self, issue: Value, arrives: Value, result: Any) -> None:
        """Say when a beat is issued, when a result arrives, and what it is."""
        leaves: Value = self._queue.r_rdy & self.o.ready
        if self.settle:
            left = Signal()
            self.m.d.sync += left.eq(leaves)
            leaves = left
        self.m.d.sync += self._credit.eq(self._credit - issue + leaves)
        self.m.d.comb += [
            self._queue.w_en.eq(arrives),
            self._queue.w_data.eq(Value.cast(result)),
        ]


def select(m: Module, index: Value, values: list[Value]) -> Value:
    """Pick one of ``values`` (a balanced tree of multiplexers)."""
    while len(values) > 1:
        bit, index = index[0], index[1:]
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [Mux(bit, p[1], p[0]) if len(p) == 2 else p[0] for p in pairs]
    return values[0]


def any_bit(value: Value) -> Value:
    """Whether any bit is set."""
    return Cat(value).any()
