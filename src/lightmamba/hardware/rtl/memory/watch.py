"""Watching the memory ports: what they owe, and which of their answers are wrong."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.contract import PAGE
from lightmamba.arch.ports import ADDRESS_BITS, ID_BITS
from lightmamba.hardware.machine.faults import Fault

__all__ = ["Faults", "ReadWatch", "WriteWatch"]

PAGE_BITS = (PAGE - 1).bit_length()
FAULT_BITS = 3
NEAR_LOG2 = 3  # of the sides that one multiplexer picks from


def _side() -> dict[str, wiring.Member]:
    """Members that both watches have."""
    return {
        "clear": In(1),
        "fault": Out(FAULT_BITS),
        "id": Out(ID_BITS),
    }


class ReadWatch(wiring.Component):
    """Watch the reads of one memory port.

    A response that is not OKAY is a fault in its cycle. Last beats are counted: as soon as all
    asked-for beats have come but not as many last ones as bursts, or the other way round, one was
    missing or early. Two that make up for each other before that are not seen; data are right then,
    for readers count beats. ``latency`` cycles lie between an answer and ``fault``.

    Parameters
    ----------
    beats : int
        Most beats that are owed at a time.
    ids : bool
        Whether there are several ids.

    Members
    -------
    asked : In, length : In(u8)
        An address was taken; beats minus one.
    answered : In, response : In(u2), last : In, answered_id : In(u6)
        A beat came.
    clear : In
        While 1, faults are forgotten.
    wait : Out
        Beats are owed and none came in this cycle.
    owing : Out
        Beats are owed.
    fault : Out(u3)
        First fault since ``clear`` (:class:`~lightmamba.hardware.machine.faults.Fault`), or 0.
    id : Out(u6)
        Id of its beat.
    """

    latency = 1

    def __init__(self, beats: int, *, ids: bool = True) -> None:
        self.beats, self.ids = beats, ids
        super().__init__(
            _side()
            | {
                "asked": In(1),
                "length": In(8),
                "answered": In(1),
                "response": In(2),
                "last": In(1),
                "answered_id": In(ID_BITS),
                "wait": Out(1),
                "owing": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        owed = Signal(range(self.beats + 1))
        bursts = Signal(range(self.beats + 1))
        asked = Signal()  # in the last cycle
        beats = Signal(range(257))  # of the burst that was asked for in the last cycle
        some = Signal()
        ended = Signal()
        found = Signal(FAULT_BITS)
        m.d.comb += [
            some.eq(owed.any()),
            ended.eq(self.answered & self.last & (bursts.any() | asked)),
            self.owing.eq(some | asked),
            self.wait.eq(some & ~self.answered),
        ]
        m.d.sync += [
            asked.eq(self.asked),
            beats.eq(Mux(self.asked, self.length + 1, 0)),
            owed.eq(owed + beats - self.answered),
            bursts.eq(Mux(self.clear & ~self.owing, 0, bursts + asked - ended)),
        ]
        with m.If(self.answered & self.response[1]):
            m.d.comb += found.eq(Mux(self.response[0], Fault.DECERR, Fault.SLVERR))
        with m.Elif(some & ~bursts.any()):
            m.d.comb += found.eq(Fault.EARLY_LAST)
        with m.Elif(~some & bursts.any()):
            m.d.comb += found.eq(Fault.NO_LAST)
        _keep(m, self, found)
        return m


class WriteWatch(wiring.Component):
    """Watch the responses to the writes of one memory port.

    ``latency`` cycles lie between a response and ``fault``.

    Members
    -------
    answered : In, response : In(u2), answered_id : In(u6)
        A response came.
    clear, fault, id
        As those of :class:`ReadWatch`.
    """

    latency = 1

    def __init__(self, *, ids: bool = True) -> None:
        self.ids = ids
        super().__init__(
            _side() | {"answered": In(1), "response": In(2), "answered_id": In(ID_BITS)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        found = Signal(FAULT_BITS)
        with m.If(self.answered & self.response[1]):
            m.d.comb += found.eq(Mux(self.response[0], Fault.DECERR, Fault.SLVERR))
        _keep(m, self, found)
        return m


def _keep(m: Module, watch: Any, found: Value) -> None:
    """Keep the first fault until it is cleared."""
    with m.If(watch.clear):
        m.d.sync += watch.fault.eq(0)
    with m.Elif(watch.fault == 0):
        m.d.sync += watch.fault.eq(found)
        if watch.ids:
            m.d.sync += watch.id.eq(watch.answered_id)


class Faults(wiring.Component):
    """Find the side of a port that has a fault, and keep what is known of it.

    The sides are looked at in turn, so ``fault`` follows within ``sides`` + 3 cycles.

    Parameters
    ----------
    sides : int
        Watches there are.

    Members
    -------
    i_fault, i_id, i_address : In per side
        Those of its watch; the address that is asked for, or was last.
    clear : In
        While 1, what was found is forgotten; at least four cycles.
    pending : Out
        A side has a fault that is not in ``fault`` yet.
    seen : Out
        ``fault`` and ``page`` are of a fault.
    fault : Out(u32)
        Bits 0 to 2: which; 8 to 15: number of the side; 16 to 21: id.
    page : Out(u32)
        Page of 4 KiB of its side's address when it was found.
    """

    def __init__(self, sides: int) -> None:
        self.sides = sides
        super().__init__(
            {
                "i_fault": In(FAULT_BITS).array(sides),
                "i_id": In(ID_BITS).array(sides),
                "i_address": In(ADDRESS_BITS).array(sides),
                "clear": In(1),
                "pending": Out(1),
                "seen": Out(1),
                "fault": Out(32),
                "page": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sides = zip(self.i_fault, self.i_id, self.i_address, strict=True)
        each = [Cat(fault, number, address[PAGE_BITS:]) for fault, number, address in sides]
        step = 1 << NEAR_LOG2
        groups = [each[n : n + step] for n in range(0, self.sides, step)]
        place = Signal(range(self.sides))
        near_place, far_place = Signal.like(place), Signal.like(place)
        near = Array(Signal(len(each[0]), name=f"near{n}") for n in range(len(groups)))
        far = Signal(len(each[0]))
        m.d.sync += place.eq(Mux(place == self.sides - 1, 0, place + 1))
        for chosen, group in zip(near, groups, strict=True):
            m.d.sync += chosen.eq(Array(group)[place[:NEAR_LOG2]])
        m.d.sync += [
            near_place.eq(place),
            far.eq(near[near_place >> NEAR_LOG2]),
            far_place.eq(near_place),
        ]
        fault, number = far[:FAULT_BITS], far[FAULT_BITS : FAULT_BITS + ID_BITS]
        with m.If(self.clear):
            m.d.sync += [self.seen.eq(0), self.fault.eq(0), self.page.eq(0)]
        with m.Elif(fault.any() & ~self.seen):
            m.d.sync += [
                self.seen.eq(1),
                self.fault[:FAULT_BITS].eq(fault),
                self.fault[8:16].eq(far_place),
                self.fault[16 : 16 + ID_BITS].eq(number),
                self.page.eq(far[FAULT_BITS + ID_BITS :]),
            ]
        m.d.comb += self.pending.eq(Cat(f.any() for f in self.i_fault).any() & ~self.seen)
        return m
