"""Reads of what is spread over the lanes' channels: commands for all positions that there are."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.job import Countdown
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS, READ
from lightmamba.hardware.rtl.memory.prefetch import LAYER_BITS
from lightmamba.hardware.rtl.memory.spread_walk import POSITION_BITS, RUN_BITS, Place, SpreadWalk

__all__ = ["SpreadReads"]


class SpreadReads(SpreadWalk):
    """Ask for the rows of all positions that a pass finds: layer, run, slot, segment.

    A layer is read only when the same layer of the last pass has been written: each takes one of
    ``layers`` credits. One command every third cycle; ``latency`` cycles lie between a start and
    the first command of a pass of one slot, for V of one.

    Members
    -------
    written : In
        Pulse: the writes of a layer have been answered.
    o : Out(stream of READ)
        Rows, behind the channels' bases; nothing where nothing is there.
    """

    latency, interval = 8, 3

    written: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        super().__init__(config, {"written": In(1), "o": o_stream(READ)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.place = place = Place(self.per_row)
        credit = Signal(LAYER_BITS + 1)  # less one: its highest bit says that there is none
        slot, segment = Signal(range(max(2, self.slots))), Signal(POSITION_BITS - self.of_segment)
        layers, run, at = Countdown(LAYER_BITS), Signal(RUN_BITS), Signal(ADDRESS_BITS)
        rows = Array(Signal(COUNT_BITS, name=f"rows{n}") for n in range(self.slots))  # the last's
        base, more = Signal(ADDRESS_BITS), Signal(COUNT_BITS)
        full, filled, nothing = Signal(), Signal(self.slots), Signal()  # segment; the last of each
        goes, of_slot, of_run, of_layer, ends, stops = (Signal() for _ in range(6))
        some, positions = self.passes(m, ends, stops)
        position = Signal(POSITION_BITS)  # the first that is not there
        last_slot, last_run = Signal(), Signal()
        began = Signal()  # the layer whose last command went in the last cycle
        m.d.comb += [
            stops.eq(~self.run & ~self.o.valid),
            position.eq(positions[slot]),
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_slot.eq(goes & ~full),
            of_run.eq(of_slot & last_slot),
            of_layer.eq(of_run & last_run),
            ends.eq(of_layer & layers.last),
        ]
        places, command = exact_log2(self.per_row), self.o.payload
        where = self.segment(m, slot, segment)
        whole = self.stride >> exact_log2(self.config.port_bits // 8)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [each.eq(0) for each in (slot, segment, run, at)]
                m.d.sync += layers.load(self.layers)
                with m.If(some & self.run):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.start.eq(1)
                m.next = "COUNT"
            with m.State("COUNT"):
                used = 1 + ((place.word + (self.per_row - 1)) >> places)
                m.d.sync += more.eq(Mux(place.rest == 0, 0, used))
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.next = "COUNTED"
            with m.State("COUNTED"):
                m.d.sync += [
                    rows[slot].eq(place.row + more),
                    filled.bit_select(slot, 1).eq(place.position.any()),
                    slot.eq(Mux(self.is_last(slot), 0, slot + 1)),
                ]
                with m.If(self.is_last(slot)):
                    m.next = "WALK"
                with m.Else():
                    m.next = "PLACE"
            with m.State("WALK"):
                m.d.sync += [
                    base.eq(where),
                    full.eq(segment != position[self.of_segment :]),
                    last_slot.eq(self.is_last(slot)),
                    last_run.eq(run + 1 == self.runs),
                ]
                m.next = "ADDRESS"
            with m.State("ADDRESS"):  # until there is a credit, less those of all layers before
                m.d.sync += [
                    command.address.eq(base + at),
                    command.count.eq(Mux(full, whole, rows[slot])),
                    nothing.eq(~full & ~filled.bit_select(slot, 1)),
                ]
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~credit[-1]):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.o.valid.eq(~nothing),
                    goes.eq(self.o.ready | nothing),
                ]
                with m.If(goes):  # what is offered stays so until it is taken
                    with m.If(ends | ~self.run):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WALK"
        with m.If(goes):
            m.d.sync += segment.eq(Mux(full, segment + 1, 0))
        with m.If(of_slot):
            m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
        with m.If(of_run):
            m.d.sync += [run.eq(Mux(last_run, 0, run + 1)), at.eq(at + self.stride)]
        with m.If(of_layer):
            m.d.sync += layers.step()
        m.d.sync += began.eq(of_layer)
        with m.If(self.run):
            m.d.sync += credit.eq(credit + self.written - began)
        with m.Else():
            m.d.sync += credit.eq(self.layers - 1)
        return m
