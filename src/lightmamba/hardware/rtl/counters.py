"""Counters that host and simulator read: what every cycle went to, losses, traffic."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.counters import COUNTER_BITS

__all__ = ["Counters"]

NEAR_LOG2 = 4  # of the counters that one multiplexer picks from
NEAR = 1 << NEAR_LOG2
LOW = COUNTER_BITS // 2  # bits of a counter whose carry goes on a cycle later


class Counters(wiring.Component):
    """One accumulator per name; each adds its event of this cycle while ``enable`` is 1.

    ``cycles`` counts those cycles, whether or not there are names.

    An event reaches its counter two cycles later, and a carry the counter's upper half three cycles
    later: a total is exact unless something was counted in the last cycle. A read takes two cycles
    more.

    Members
    -------
    enable : In
    index : In(u8)
    value : Out(u64)
        Counter of that index.
    cycles : Out(u64)
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.events: dict[str, tuple[Value, bool]] = {}
        super().__init__(
            {"enable": In(1), "index": In(8), "value": Out(64), "cycles": Out(64)}
        )  # fmt: skip

    def count(self, name: str, event: Value, *, always: bool = False) -> None:
        """Add ``event`` (unsigned) to a counter each cycle; ``always``: between tokens too."""
        if not self.names:
            return  # left out
        if name not in self.names:
            raise ValueError(f"{name} is no counter")
        if name in self.events:
            event = self.events[name][0] + event
        self.events[name] = Value.cast(event), always

    @property
    def missing(self) -> set[str]:
        """Counters that nothing counts yet."""
        return set(self.names) - set(self.events)

    def elaborate(self, platform: object) -> Module:
        if self.missing:
            raise ValueError(f"nothing counts {sorted(self.missing)}")
        m = Module()
        m.d.comb += self.cycles.eq(self._total(m, "cycles", Const(1), False))
        totals = [self._total(m, name, *self.events[name]) for name in self.names]
        if not totals:
            return m
        near = Array(Signal(COUNTER_BITS, name=f"near{n}") for n in range(0, len(totals), NEAR))
        far = Signal(range(len(near)))
        for n, chosen in enumerate(near):
            some = Array(totals[n * NEAR : (n + 1) * NEAR])
            m.d.sync += chosen.eq(some[self.index[:NEAR_LOG2]])
        m.d.sync += [far.eq(self.index[NEAR_LOG2:]), self.value.eq(near[far])]
        return m

    def _total(self, m: Module, name: str, event: Value, always: bool) -> Value:
        """Accumulator of an event."""
        label = name.replace(".", "_")
        now = Signal(event.shape(), name=f"event_{label}")
        low, high = (Signal(LOW, name=f"{half}_{label}") for half in ("low", "high"))
        carry = Signal(name=f"carry_{label}")
        m.d.sync += [
            Cat(low, carry).eq(low + now[:LOW]),
            high.eq(high + now[LOW:] + carry),
        ]
        with m.If(self.enable | always):
            m.d.sync += now.eq(event)
        with m.Else():
            m.d.sync += now.eq(0)
        return Cat(low, high)
