"""A machine of a few blocks, with the names that the real one has, and where tools are missing."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.rtl.verilog import written

__all__ = ["Adder", "Machine", "Store", "text"]


class Adder(wiring.Component):
    """``q`` takes a + b, registers before and behind; ``width`` bits, 3 x width flip-flops."""

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "b": In(width), "q": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
        q = Signal.like(self.q, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), q.eq(a + b)]
        m.d.comb += self.q.eq(q)
        return m


class Store(wiring.Component):
    """A memory with one write port and one clocked read port, and a counter for its address."""

    def __init__(self, depth: int, width: int) -> None:
        self.depth, self.width = depth, width
        super().__init__({"write": In(1), "d": In(width), "q": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = store = memory.Memory(shape=self.width, depth=self.depth, init=[])
        enter, read = store.write_port(), store.read_port()
        at = Signal(range(self.depth))
        m.d.sync += at.eq(at + 1)
        m.d.comb += [
            enter.addr.eq(at), enter.data.eq(self.d), enter.en.eq(self.write),
            read.addr.eq(~at), self.q.eq(read.data),
        ]  # fmt: skip
        return m


class _Lanes(wiring.Component):
    """Two equal lanes, one behind the other, with a register between them."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "q": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane0 = first = Adder(self.width)
        m.submodules.lane1 = second = Adder(self.width)
        between = Signal(self.width, reset_less=True)
        m.d.sync += between.eq(first.q ^ self.b)  # logic, or yosys makes a shift register
        m.d.comb += [
            first.a.eq(self.a), first.b.eq(self.b), second.a.eq(between), second.b.eq(self.b),
            self.q.eq(second.q),
        ]  # fmt: skip
        return m


class _Units(wiring.Component):
    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "q": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lanes = lanes = _Lanes(self.width)
        m.submodules.store = store = Store(512, 36)
        m.d.comb += [
            lanes.a.eq(self.a), lanes.b.eq(self.b), store.write.eq(1),
            store.d.eq(Cat(lanes.q, lanes.q, lanes.q, lanes.q, lanes.q)[:36]),
            self.q.eq(store.q[: self.width] ^ store.q[36 - self.width :]),
        ]  # fmt: skip
        return m


class Machine(wiring.Component):
    """Top with the units in it: 2 lanes of 3 x width flip-flops, width more, 9 in the store.

    ``more``: another block before them.
    """

    def __init__(self, width: int = 12, *, more: bool = False) -> None:
        self.width, self.more = width, more
        super().__init__({"a": In(width), "b": In(width), "q": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        b = self.b
        if self.more:
            m.submodules.more = more = Adder(self.width)
            m.d.comb += [more.a.eq(self.b), more.b.eq(self.a)]
            b = more.q
        m.submodules.units = units = _Units(self.width)
        m.d.comb += [units.a.eq(self.a), units.b.eq(b), self.q.eq(units.q)]
        return m


def text(component: Any) -> str:
    """Verilog with ``lightmamba`` at its top."""
    return written(component, "lightmamba")
