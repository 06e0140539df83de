"""Pages of keys and values: loaded from memory and from the pass itself, and who meets them."""

from typing import Any

from amaranth.hdl import Array, C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import fifo

from lightmamba.arch.contract import WORD, WORD_BITS
from lightmamba.blocks.attention.hardware import PAGES
from lightmamba.numerics.attention import PAGE
from lightmamba.rtl.attention_shape import (
    PLACE,
    POSITION_BITS,
    Shape,
    turn_layout,
)
from lightmamba.rtl.attention_store import EXPONENT, Store, ram

__all__ = ["Loader", "Pages", "Slots", "Turns"]

EXPONENTS = WORD_BITS // EXPONENT // 2  # of a key


class Slots:
    """What a job's slots hold: registers that are set at its start.

    Attributes
    ----------
    before, end : Array of Signal
        Positions that a slot has in memory; those and the new ones.
    first, count : Array of Signal
        Its first vector, and its vectors.
    last : Signal
        The last slot that is used.
    """

    def __init__(
        self, m: Module, start: Value, before: Any, slots: list[Any], vectors: list[Any]
    ) -> None:
        tokens = len(vectors)
        bits = tokens.bit_length()
        names = ("before", "end", "first", "count")
        widths = (POSITION_BITS, POSITION_BITS, max(1, (tokens - 1).bit_length()), bits)
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
                    found["end"][n].eq(before[n] + count),
                    found["first"][n].eq(slot.first),
                    found["count"][n].eq(count),
                ]
            m.d.sync += self.last.eq(sum(used[1:], start=C(0, bits)))
        self.before, self.end, self.first, self.count = (Array(found[name]) for name in names)


class Pages(Elaboratable):
    """Memory of :data:`PAGES` pages: W channels of keys, and of values, a word.

    Attributes
    ----------
    write, page, place, word, several, value, exponents, data
        Words of 64 bits of a position, of its key or value, or its exponents: one, or ``several``
        from a multiple of ``shape.step`` on.
    key, value_at : Signal
        Addresses: part, place, page, from the lowest bit.
    keys, key_exps, values, value_exps : Signal
        One cycle later.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        page_bits = (PAGES - 1).bit_length()
        self.write, self.value, self.exponents = Signal(), Signal(), Signal()
        self.page, self.place = Signal(page_bits), Signal(PLACE)
        self.word = Signal((256 // WORD - 1).bit_length())
        self.several, self.data = Signal(), Signal(shape.step * WORD_BITS)
        address = shape.bits("parts") + PLACE + page_bits
        self.key, self.value_at = Signal(address), Signal(address)
        self.keys, self.values = Signal(shape.channels * 8), Signal(shape.channels * 8)
        exps = shape.blocks * EXPONENT
        self.key_exps, self.value_exps = Signal(exps), Signal(exps)

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        per = s.channels // WORD  # words of 64 bits of a word of W channels
        within, parts = (per - 1).bit_length(), s.bits("parts")
        low = (s.step - 1).bit_length()
        part, lane = self.word[within : within + parts], self.word[:within]
        place = Cat(self.place, self.page)
        depth = PAGES * PAGE << parts
        for n, (name, address, found, found_exps) in enumerate((
            ("keys", self.key, self.keys, self.key_exps),
            ("values", self.value_at, self.values, self.value_exps),
        )):  # fmt: skip
            store = ram(m, name, s.channels * 8, depth)
            enter, read = store.write_port(granularity=WORD_BITS), store.read_port()
            mine = self.write & ~self.exponents & (self.value == n)
            m.d.comb += [
                enter.addr.eq(Cat(part, place)),
                enter.data.eq(
                    Cat(
                        Mux(self.several, self.data, self.data[:WORD_BITS].replicate(s.step))
                        for _ in range(per // s.step)
                    )
                ),
                enter.en.eq(
                    Cat(
                        mine & ((lane == k) | (self.several & (lane[low:] == k >> low)))
                        for k in range(per)
                    )
                ),
                read.addr.eq(address),
                found.eq(read.data),
            ]
            exps = ram(m, f"{name}_exps", EXPONENTS * EXPONENT, PAGES * PAGE)
            enter, read = exps.write_port(), exps.read_port()
            chosen = Signal(max(1, parts), name=f"{name}_part")
            m.d.sync += chosen.eq(address[:parts])
            m.d.comb += [
                enter.addr.eq(place),
                enter.data.eq(self.data.word_select(n, EXPONENTS * EXPONENT)),
                enter.en.eq(self.write & self.exponents),
                read.addr.eq(address[parts:]),
                found_exps.eq(read.data.word_select(chosen, len(found_exps))),
            ]
        return m


class Loader(Elaboratable):
    """Fill pages, head by head, slot by slot: earlier positions from memory, then new ones.

    A beat of memory a cycle, or as much of it as belongs to one word of W channels; a word of 64
    bits of a new position; and a cycle for each page.

    Attributes
    ----------
    start : Signal
    freed, loaded : Signal
        A page has been used for the last time; one is there.
    done : Signal
        All of the job are loaded.
    inputs : list of stream
        Beats of earlier positions, by slot.
    """

    def __init__(
        self, shape: Shape, fields: Any, slots: Slots, store: Store, pages: Pages, inputs: list[Any]
    ) -> None:
        self.shape, self.fields, self.slots = shape, fields, slots
        self.store, self.pages, self.inputs = store, pages, inputs
        self.start, self.freed, self.loaded, self.done = (Signal() for _ in range(4))

    def elaborate(self, platform: object) -> Module:
        m, s, f, slots = Module(), self.shape, self.fields, self.slots
        address, exponents, new = self.store.reads[0]
        free = Signal(range(PAGES + 1), init=PAGES)
        page = Signal.like(self.pages.page)
        head, slot = Signal(s.bits("heads")), Signal(range(max(2, s.tokens)))
        at = Signal(POSITION_BITS)
        section, word = Signal(2), Signal(self.pages.word.shape())  # key, value, exponents
        turns = s.beat // s.step  # cycles of a beat
        turn = Signal(range(max(2, turns)))
        open_, old, fires, takes = Signal(), Signal(), Signal(), Signal()
        before, end = slots.before[slot], slots.end[slot]
        vector = slots.first[slot] + (at - before)
        ends_part, ends_position, ends_page, ends_slot = (Signal() for _ in range(4))
        offered = Array([i.valid for i in self.inputs])[slot]
        words = f.head_dim[3:]
        many = Mux(old, s.step, 1)
        m.d.comb += [
            old.eq(at < before),
            fires.eq(open_ & Mux(old, offered, self.store.whole)),
            ends_part.eq((word + many >= words) | (section == 2)),
            # A beat ends with the section, whose rest is padding.
            *(
                i.ready.eq(open_ & old & (slot == n) & (ends_part | (turn == turns - 1)))
                for n, i in enumerate(self.inputs)
            ),
            address.eq(Cat(word[: self.store.word_bits], section[0], head)),
            exponents.eq(section == 2),
            ends_position.eq(section == 2),
            ends_slot.eq(at == end - 1),
            ends_page.eq(ends_position & (at[:PLACE].all() | ends_slot)),
            takes.eq(fires & ends_page),
        ]
        with m.If(fires):
            m.d.sync += [
                word.eq(Mux(ends_part, 0, word + many)),
                turn.eq(Mux(ends_part | (turn == turns - 1), 0, turn + 1)),
            ]
            with m.If(ends_position):
                m.d.sync += [section.eq(0), at.eq(Mux(ends_slot, 0, at + 1))]
            with m.Elif(ends_part):
                m.d.sync += section.eq(section + 1)
        last = Signal()
        m.d.comb += last.eq(ends_slot & (slot == slots.last) & (head == f.heads - 1))
        working = Signal()
        m.d.comb += self.done.eq(~working)
        with m.If(self.start):
            m.d.sync += [
                working.eq(1), open_.eq(0), head.eq(0), slot.eq(0), at.eq(0), section.eq(0),
                word.eq(0), turn.eq(0),
            ]  # fmt: skip
        with m.Elif(takes):
            m.d.sync += [open_.eq(0), page.eq(page + 1), working.eq(~last)]
            with m.If(ends_slot):
                m.d.sync += slot.eq(Mux(slot == slots.last, 0, slot + 1))
                with m.If(slot == slots.last):
                    m.d.sync += head.eq(head + 1)
        with m.Elif(working & ~open_ & free.any()):
            m.d.sync += open_.eq(1)
        opens = working & ~open_ & free.any() & ~self.start
        m.d.sync += free.eq(free - opens + self.freed)

        # What is loaded lies in its page two cycles later.
        p, given = self.pages, Signal(s.step * WORD_BITS)
        beat = Array([i.payload for i in self.inputs])[slot]
        late = {name: Signal.like(value, name=f"{name}_late") for name, value in (
            ("page", page), ("place", p.place), ("word", word), ("section", section), ("old", old),
            ("vector", p.place[:3]),
        )}  # fmt: skip
        fired, full = Signal(), Signal()
        m.d.sync += [
            fired.eq(fires), full.eq(takes), self.loaded.eq(full),
            late["page"].eq(page), late["place"].eq(at), late["word"].eq(word),
            late["section"].eq(section), late["old"].eq(old), late["vector"].eq(vector),
            given.eq(beat.word_select(turn, len(given)) if turns > 1 else beat),
        ]  # fmt: skip
        m.d.comb += [
            p.write.eq(fired),
            p.page.eq(late["page"]),
            p.place.eq(late["place"]),
            p.word.eq(late["word"]),
            p.value.eq(late["section"][0]),
            p.exponents.eq(late["section"] == 2),
            p.several.eq(late["old"]),
            p.data.eq(Mux(late["old"], given, Array(new)[late["vector"]])),
        ]
        return m


class Turns(Elaboratable):
    """Say which queries meet which page: head, slot, page, vector and turn, in this order.

    Attributes
    ----------
    start, asked, loaded : Signal
        A job starts; its queries are there; a page is there.
    head_done : Signal
        The means of a head are read; two heads are worked on at a time.
    o : stream-like
        ``valid``, ``ready`` and ``turn``.
    done : Signal
        All turns of the job are given.
    """

    def __init__(self, shape: Shape, fields: Any, slots: Slots) -> None:
        self.shape, self.fields, self.slots = shape, fields, slots
        self.start, self.asked, self.loaded = (Signal() for _ in range(3))
        self.head_done, self.done = Signal(), Signal()
        self.layout = turn_layout(shape)
        self.valid, self.ready, self.turn = Signal(), Signal(), Signal(self.layout)

    def elaborate(self, platform: object) -> Module:
        m, s, f, slots = Module(), self.shape, self.fields, self.slots
        there = Signal(range(PAGES + 1))
        heads = Signal(range(3), init=2)
        page = Signal(range(PAGES))
        head, odd = Signal(s.bits("heads")), Signal()
        slot = Signal(range(max(2, s.tokens)))
        vector = Signal(range(max(2, s.tokens)))  # of the slot
        turn, first = Signal(s.bits("turns")), Signal()
        ahead = Signal(POSITION_BITS + 1)  # positions of the slot's first vector from this page on
        behind = Signal(POSITION_BITS)  # of the slot, from this page on
        working, fresh, entering = Signal(), Signal(), Signal()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.layout.size, depth=3)
        given, emits = Signal(self.layout), Signal()
        last_turn, last_vector, last_page, last_slot, last_head = (Signal() for _ in range(5))
        sees = Signal(POSITION_BITS + 2)
        count = slots.count[slot]
        m.d.comb += [
            sees.eq(ahead.as_signed() + vector),
            last_turn.eq(turn == f.turns - 1),
            last_vector.eq(vector == count - 1),
            last_page.eq(behind <= PAGE),
            last_slot.eq(slot == slots.last),
            last_head.eq(head == f.heads - 1),
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
            given.turn.eq(turn),
            given.page.eq(page),
            given.rows.eq(Mux(last_turn, f.last_rows, s.rows)),
            given.limit.eq(Mux(sees[-1], 0, Mux(sees[PLACE:].any(), PAGE, sees[: PLACE + 1]))),
            given.first.eq(first),
            given.ends.eq(last_turn & last_vector),
            given.final.eq(given.ends & last_page & last_slot),
            queue.w_en.eq(emits),
            queue.w_data.eq(given),
            self.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.ready),
            self.turn.eq(queue.r_data),
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
                *(each.eq(0) for each in (head, slot, vector, turn)),
            ]  # fmt: skip
        with m.Elif(working & entering):  # a slot
            m.d.sync += [
                entering.eq(0), first.eq(1), ahead.eq(slots.before[slot] + 1),
                behind.eq(slots.end[slot]),
            ]  # fmt: skip
        with m.Elif(emits):
            m.d.sync += [fresh.eq(0), turn.eq(Mux(last_turn, 0, turn + 1))]
            with m.If(last_turn):
                m.d.sync += vector.eq(Mux(last_vector, 0, vector + 1))
            with m.If(given.ends):
                m.d.sync += [
                    page.eq(page + 1), first.eq(0), ahead.eq(ahead - PAGE),
                    behind.eq(behind - PAGE), entering.eq(last_page),
                ]  # fmt: skip
                with m.If(last_page):
                    m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
                    with m.If(last_slot):
                        m.d.sync += [
                            head.eq(head + 1), odd.eq(~odd), fresh.eq(1), working.eq(~last_head),
                        ]  # fmt: skip
        return m
