"""The experts of the largest keys, in order."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data

__all__ = ["Ranking"]

KEY = 32  # bits


class Ranking(Elaboratable):
    """Keep the largest keys, the largest first; of equal ones, the first that came.

    A key may enter in every cycle, and is listed ``latency`` cycles later.

    Source: ``numerics.routing.largest``, which lists the same experts by their number.

    Parameters
    ----------
    places : int
        Keys that are kept.
    experts : int
        The most that there are.

    Attributes
    ----------
    clear : Signal
        Forget all.
    enters, key, expert : Signal
        A key, s32, and whose it is.
    leaves : Signal
        The best one leaves, and all others move up; nothing enters meanwhile.
    best : data.View
        ``expert``, and ``rank``, u32, in the order of the keys; whether the place is ``filled``.
    """

    latency = 2

    def __init__(self, places: int, experts: int) -> None:
        number = range(experts)
        self.entry = data.StructLayout({"rank": KEY, "expert": number, "filled": 1})
        self.entries = [
            Signal(self.entry, name=f"entry{place}", reset_less=True) for place in range(places)
        ]
        self.best = self.entries[0]
        self.clear, self.enters, self.leaves = Signal(), Signal(), Signal()
        self.key, self.expert = Signal(signed(KEY)), Signal(number)

    def elaborate(self, platform: object) -> Module:
        m, entries = Module(), self.entries
        rank = Cat(self.key[:-1], ~self.key[-1])
        moving = Signal(self.entry, reset_less=True)  # is listed in this cycle
        m.d.sync += [moving.rank.eq(rank), moving.expert.eq(self.expert), moving.filled.eq(1)]
        # Places that are below it; places, and it, that are below what enters behind it.
        below, lower, behind = Signal(len(entries)), Signal(len(entries)), Signal()
        m.d.comb += [
            behind.eq(rank > moving.rank),
            *(
                lower[place].eq(~entry.filled | (rank > entry.rank))
                for place, entry in enumerate(entries)
            ),
        ]
        for place, entry in enumerate(entries):
            here, before = below[place], below[place - 1] if place else 0
            shifted = Mux(before, lower[place - 1], behind)
            m.d.sync += below[place].eq(self.enters & Mux(here, shifted, lower[place]))
            with m.If(here):
                m.d.sync += entry.eq(Mux(before, entries[place - 1], moving))
            with m.Elif(self.leaves):
                m.d.sync += entry.eq(entries[min(place + 1, len(entries) - 1)])
            with m.If(self.clear):
                m.d.sync += entry.filled.eq(0)
        return m
