"""Writes of what is spread over the lanes' channels: words of new positions become beats."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD, WORD_BITS
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.job import Countdown
from lightmamba.hardware.rtl.layouts import WORD as WORD_SHAPE
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS
from lightmamba.hardware.rtl.memory.prefetch import LAYER_BITS
from lightmamba.hardware.rtl.memory.rows import beat_layout
from lightmamba.hardware.rtl.memory.spread_walk import (
    POSITION_BITS,
    RUN_BITS,
    WORDS_BITS,
    Place,
    SpreadWalk,
)

__all__ = ["SpreadWrites"]


class SpreadWrites(SpreadWalk):
    """Place the words of new positions: layer, slot, position, run; of a run one word, then V.

    A word a cycle, and some ten cycles for each position; ``latency`` cycles from the word that
    completes a beat to the beat. What is before or behind the words of a position in a beat keeps
    its bytes.

    Members
    -------
    more : In per slot
        Positions that a pass adds.
    i : In(stream of u64)
    o : Out(stream of beat_layout)
        ``last`` with the last beat of a layer.
    """

    latency, interval = 1, 1

    more: Any
    i: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        layout = beat_layout(config.row_lanes, config.port_bits)
        super().__init__(
            config,
            {
                "more": In(config.tokens.bit_length()).array(config.tokens),
                "i": i_stream(WORD_SHAPE),
                "o": o_stream(layout),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.place = place = Place(self.per_row)
        places, of_beat = exact_log2(self.per_row), exact_log2(self.config.port_bits // WORD_BITS)
        slot, added = Signal(range(max(2, self.slots))), Signal(self.config.tokens.bit_length())
        layers, run = Countdown(LAYER_BITS), Signal(RUN_BITS)
        # Of a run in a segment; of a layer's first run; of the run behind its channels' bases.
        at, of_layer_at, base = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        word, values = Signal(COUNT_BITS + places), Signal(COUNT_BITS + places)
        header, left = Signal(), Countdown(WORDS_BITS)  # words of the run, from this one on
        before, position = Signal(POSITION_BITS), Signal(POSITION_BITS)
        there, stops = Signal(ADDRESS_BITS), ~self.run
        last_run, last_position, last_slot = Signal(), Signal(), Signal()
        take, of_run, of_position, of_slot, of_layer, ends = (Signal() for _ in range(6))
        some, positions = self.passes(m, ends, stops)
        m.d.comb += [
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_run.eq(take & ~header & left.last),
            of_position.eq(of_run & last_run),
            of_slot.eq(of_position & last_position),
            of_layer.eq(of_slot & last_slot),
            ends.eq(of_layer & layers.last),
        ]
        where = self.segment(m, slot, position[self.of_segment :])
        first = [word.eq(Cat(place.rest, place.row)), header.eq(1), *left.load(self.words)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [each.eq(0) for each in (slot, added, run, at, of_layer_at)]
                m.d.sync += layers.load(self.layers)
                with m.If(some & self.run):
                    m.next = "POSITION"
            with m.State("POSITION"):
                m.d.sync += before.eq(positions[slot])
                m.next = "ADDED"
            with m.State("ADDED"):
                m.d.sync += position.eq(before + added)
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.start.eq(1)
                m.d.sync += there.eq(where)
                m.next = "PLACED"
            with m.State("PLACED"):
                m.d.sync += [
                    *first,
                    values.eq(Cat(place.word[:places], place.row + place.word[places:] + 1)),
                    base.eq(there + at),
                    last_run.eq(self.runs == 1),
                    last_position.eq(added + 1 == Array(self.more)[slot]),
                    last_slot.eq(self.is_last(slot)),
                ]
                with m.If(stops):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [
                    self.i.ready.eq(~self.o.valid | self.o.ready),
                    take.eq(self.i.valid & self.i.ready),
                ]
                with m.If(take):
                    m.d.sync += [word.eq(Mux(header, values, word + 1)), header.eq(0)]
                with m.If(take & ~header):
                    m.d.sync += left.step()
                with m.If(of_run):
                    m.d.sync += [
                        *first,
                        run.eq(Mux(last_run, 0, run + 1)),
                        last_run.eq(run + 2 == self.runs),
                        at.eq(at + self.stride),
                        base.eq(base + self.stride),
                    ]
                with m.If(of_position):
                    m.d.sync += [
                        at.eq(Mux(of_layer, at + self.stride, of_layer_at)),
                        added.eq(Mux(of_slot, 0, added + 1)),
                    ]
                    m.next = "POSITION"
                with m.If(of_slot):
                    m.d.sync += slot.eq(Mux(of_layer, 0, slot + 1))
                with m.If(of_layer):
                    m.d.sync += [of_layer_at.eq(at + self.stride), *layers.step()]
                with m.If(ends | stops):
                    m.next = "IDLE"

        # Words of a beat gather where it waits to be taken.
        o, in_beat, fresh = self.o.payload, word[:of_beat], Signal(init=1)
        full = header | left.last | in_beat.all()
        strobe = Cat((in_beat == n).replicate(WORD) for n in range(1 << of_beat))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += [
                self.o.valid.eq(full),
                fresh.eq(full),
                o.address.eq(base + (word[places:] << exact_log2(self.config.port_bits // 8))),
                o.channel.eq(word[of_beat:places]),
                o.strobe.eq(strobe | Mux(fresh, 0, o.strobe)),
                o.last.eq(of_layer),
            ]
            for n in range(1 << of_beat):
                with m.If(in_beat == n):
                    m.d.sync += o.value.word_select(n, WORD_BITS).eq(self.i.payload)
        return m
