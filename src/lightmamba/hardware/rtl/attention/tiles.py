"""Tiles of attention: which queries meet which page, and the positions that a pass has."""

from typing import Any

from amaranth.hdl import Array, C, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import fifo

from lightmamba.hardware.rtl.attention.shape import (
    PLACE,
    POSITION_BITS,
    Shape,
    less_one,
    tile_layout,
)
from lightmamba.numerics.attention import PAGE

__all__ = ["Slots", "Tiles"]


class Slots:
    """Contents of a job's slots, in registers that are set at its start, or a cycle later.

    Attributes
    ----------
    before, first, count : Array of Signal
        Positions that a slot has in memory, its first vector, and how many it has.
    final : Array of Signal
        Number of its last vector, a cycle later.
    last : Signal
        The last slot that is used.
    """

    def __init__(
        self, m: Module, start: Value, before: Any, slots: list[Any], vectors: list[Any]
    ) -> None:
        tokens = len(vectors)
        bits = tokens.bit_length()
        names = ("before", "first", "count", "final")
        widths = (POSITION_BITS, max(1, (tokens - 1).bit_length()), bits, bits)
        found = {
            name: [Signal(width, name=f"{name}{n}") for n in range(tokens)]
            for name, width in zip(names, widths, strict=True)
        }
        self.last = Signal(range(max(2, tokens)))
        used = [slot.used for slot in slots]
        with m.If(start):
            for n, slot in enumerate(slots):
                count = sum(
                    (vector.used & (vector.slot == n) for vector in vectors), start=C(0, bits)
                )[:bits]
                m.d.sync += [
                    found["before"][n].eq(before[n]),
                    found["first"][n].eq(slot.first),
                    found["count"][n].eq(count),
                ]
            m.d.sync += self.last.eq(sum(used[1:], start=C(0, bits)))
        m.d.sync += [found["final"][n].eq(found["count"][n] - 1) for n in range(tokens)]
        self.before, self.first, self.count, self.final = (Array(found[name]) for name in names)


class Tiles(Elaboratable):
    """Say which queries meet which page: head, slot, page, vector and tile, in this order.

    Attributes
    ----------
    start, asked, loaded : Signal
        A job starts; its queries are there; a page is there.
    head_done : Signal
        The means of a head are read; two heads are worked on at a time.
    valid, ready, tile : Signal
        The next tile; it is taken.
    done : Signal
        All tiles of the job are given.
    """

    def __init__(self, shape: Shape, fields: Any, slots: Slots) -> None:
        self.shape, self.fields, self.slots = shape, fields, slots
        self.start, self.asked, self.loaded = (Signal() for _ in range(3))
        self.head_done, self.done = Signal(), Signal()
        self.layout = tile_layout(shape)
        self.valid, self.ready, self.tile = Signal(), Signal(), Signal(self.layout)

    def elaborate(self, platform: object) -> Module:
        m, s, f, slots = Module(), self.shape, self.fields, self.slots
        there = Signal(range(s.pages + 1))
        heads = Signal(range(3), init=2)
        page = Signal(s.page_bits)
        head, odd = Signal(s.bits("heads")), Signal()
        slot = Signal(range(max(2, s.tokens)))
        vector = Signal(range(max(2, s.tokens)))  # of the slot
        tile, first = Signal(s.bits("tiles")), Signal()
        # Positions of the slot's first vector from this page on, and those of the vector.
        ahead, sees = (Signal(signed(POSITION_BITS + 1)) for _ in range(2))
        behind = Signal(POSITION_BITS)  # of the slot, from this page on
        working, fresh, entering = Signal(), Signal(), Signal()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.layout.size, depth=3)
        given, emits = Signal(self.layout), Signal()
        last_tile, last_vector, last_page, last_slot, last_head = (Signal() for _ in range(5))
        m.d.comb += [
            last_tile.eq(tile == less_one(m, f.tiles)),
            last_vector.eq(vector == slots.final[slot]),
            last_page.eq(behind <= PAGE),
            last_slot.eq(slot == slots.last),
            last_head.eq(head == less_one(m, f.heads)),
            emits.eq(
                working
                & ~entering
                & self.asked
                & there.any()
                & (~fresh | heads.any())
                & queue.w_rdy
            ),
            given.head.eq(head),
            given.odd.eq(odd),
            given.vector.eq(slots.first[slot] + vector),
            given.tile.eq(tile),
            given.page.eq(page),
            given.rows.eq(Mux(last_tile, f.last_rows, s.rows)),
            given.limit.eq(Mux(sees[-1], 0, Mux(sees[PLACE:].any(), PAGE, sees[: PLACE + 1]))),
            given.first.eq(first),
            given.ends.eq(last_tile & last_vector),
            given.final.eq(given.ends & last_page & last_slot),
            queue.w_en.eq(emits),
            queue.w_data.eq(given),
            self.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.ready),
            self.tile.eq(queue.r_data),
            self.done.eq(~working & ~queue.r_rdy),
        ]
        opens, begins = Signal(), Signal()
        m.d.comb += [opens.eq(emits & given.ends), begins.eq(emits & fresh)]
        m.d.sync += [
            there.eq(there + self.loaded - opens),
            heads.eq(heads - begins + self.head_done),
        ]
        with m.If(self.start):
            m.d.sync += [
                working.eq(1), entering.eq(1), fresh.eq(1), odd.eq(0),
                *(each.eq(0) for each in (head, slot, vector, tile)),
            ]  # fmt: skip
        with m.Elif(working & entering):  # a slot
            m.d.sync += [
                entering.eq(0), first.eq(1), ahead.eq(slots.before[slot] + 1),
                sees.eq(slots.before[slot] + 1),
                behind.eq(slots.before[slot] + slots.count[slot]),
            ]  # fmt: skip
        with m.Elif(emits):
            m.d.sync += [fresh.eq(0), tile.eq(Mux(last_tile, 0, tile + 1))]
            with m.If(last_tile):
                m.d.sync += [vector.eq(Mux(last_vector, 0, vector + 1)), sees.eq(sees + 1)]
            with m.If(given.ends):
                m.d.sync += [
                    page.eq(page + 1), first.eq(0), ahead.eq(ahead - PAGE), sees.eq(ahead - PAGE),
                    behind.eq(behind - PAGE), entering.eq(last_page),
                ]  # fmt: skip
                with m.If(last_page):
                    m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
                    with m.If(last_slot):
                        m.d.sync += [
                            head.eq(head + 1), odd.eq(~odd), fresh.eq(1), working.eq(~last_head),
                        ]  # fmt: skip
        return m
