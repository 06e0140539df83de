"""Items that come one or two at a time, gathered in pairs."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["Pairs"]


class Pairs:
    """Gather the items of a job in pairs, in their order; of an odd number the last is alone.

    A pair leaves in the cycle in which its second item comes. Where the last transfer of a job
    gives a pair its second item and leaves another one, that one follows as soon as there is room.

    Parameters
    ----------
    m : Module
    bits : int
        Of the number of items of a job.
    width : int
        1 lets every item leave by itself; then there is never a second one.

    Attributes
    ----------
    some : Signal
        Items of the job are to come. Registered.
    alone : Signal
        One waits to follow. Registered.
    take, last : Signal
        Items come in this cycle; they are the last ones.
    count : Value
        Items that come in this cycle, if any.
    issue, final : Signal
        A pair leaves in this cycle; the last one does.
    items : list of Value
        The pair; 0 instead of a second one that is missing.
    whole : Signal
        It is complete.
    """

    def __init__(self, m: Module, bits: int, width: int = 2) -> None:
        self.m, self.width = m, width
        self._left = Signal(bits)
        self._ends = Signal(2)  # whether one is left; two
        self.some, self.alone, self._odd = Signal(), Signal(), Signal()
        self.take, self.last, self.issue, self.final, self.whole = (Signal() for _ in range(5))

    def load(self, count: Value) -> list[Any]:
        """Assignments when a job of ``count`` items starts."""
        ends = Cat(count == 1, count == 2)
        return [self._left.eq(count), self._ends.eq(ends), self.some.eq(count != 0)]

    def connect(self, valid: Value, room: Value, first: Value, second: Value, both: Value) -> None:
        """Say what comes, and whether a pair may leave.

        Items are taken while ``some & room``.
        """
        m, odd, alone = self.m, self._odd, self.alone
        both = both if self.width == 2 else Const(0, 1)
        self.count = Mux(both, 2, 1)
        m.d.comb += [
            self.take.eq(valid & self.some & room),
            self.last.eq(self.take & Mux(both, self._ends[1], self._ends[0])),
        ]
        with m.If(self.take):
            one, two, three = (self._left == n for n in (2, 3, 4))
            m.d.sync += [
                self._left.eq(self._left - self.count),
                self._ends.eq(Mux(both, Cat(two, three), Cat(one, two))),
                self.some.eq(~self.last),
            ]
        if self.width == 1:
            self.items = [first]
            m.d.comb += [
                self.issue.eq(self.take), self.final.eq(self.last), self.whole.eq(1),
            ]  # fmt: skip
            return
        kept = Signal(first.shape(), reset_less=True)  # a first item, which waits for its second
        with m.If(self.take):
            m.d.sync += [
                kept.eq(Mux(odd, second, first)),
                odd.eq((odd == both) & ~self.last),
                alone.eq(odd & both & self.last),
            ]
        with m.Elif(room):
            m.d.sync += alone.eq(0)
        low = Mux(odd | alone, kept, first)
        high = Mux(alone, 0, Mux(odd, first, Mux(both, second, 0)))
        self.items = [low, high]
        m.d.comb += [
            self.whole.eq(~alone & (odd | both)),
            self.issue.eq((self.take & (odd | both | self.last)) | (alone & room)),
            self.final.eq((self.last & ~(odd & both)) | (alone & room)),
        ]
