"""Pages of keys and values: loaded from memory, and from what the pass itself adds."""

from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value

from lightmamba.arch.contract import WORD, WORD_BITS
from lightmamba.blocks.attention.hardware import PAGES
from lightmamba.numerics.attention import PAGE
from lightmamba.rtl.attention_shape import PLACE, POSITION_BITS, Shape, less_one
from lightmamba.rtl.attention_store import EXPONENT, Store, ram
from lightmamba.rtl.attention_turns import Slots
from lightmamba.rtl.job import Countdown

__all__ = ["Loader", "Pages"]

EXPONENTS = WORD_BITS // EXPONENT // 2  # of a key


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
    bits of a new position; and two cycles for each page.

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
        older, rest = Countdown(POSITION_BITS), Countdown(POSITION_BITS)  # positions of the slot
        section, word = Signal(2), Signal(self.pages.word.shape())  # key, value, exponents
        left, words = Countdown(6), f.head_dim[3:]  # cycles of the section
        turns = s.beat // s.step  # cycles of a beat
        turn, last_turn = Signal(range(max(2, turns))), Signal()
        # A page is to come; its slot is known; it is being loaded.
        working, waits, opens, open_ = Signal(), Signal(), Signal(), Signal()
        fires, takes = Signal(), Signal()
        ends_part, ends_position, ends_page = (Signal() for _ in range(3))
        offered = Array([i.valid for i in self.inputs])[slot]
        begins = slots.before[slot], slots.end[slot]

        def cycles(old: Value) -> Value:
            """Those of a key or a value."""
            return Mux(old, (words + (s.step - 1)) >> (s.step - 1).bit_length(), words)[:6]

        m.d.comb += [
            fires.eq(open_ & Mux(older.some, offered, self.store.whole)),
            ends_position.eq(section == 2),
            ends_part.eq(left.last | ends_position),
            last_turn.eq(turn == turns - 1),
            # A beat ends with the section, whose rest is padding.
            *(
                i.ready.eq(open_ & older.some & (slot == n) & (ends_part | last_turn))
                for n, i in enumerate(self.inputs)
            ),
            address.eq(Cat(word[: self.store.word_bits], section[0], head)),
            exponents.eq(section == 2),
            ends_page.eq(ends_position & (at[:PLACE].all() | rest.last)),
            takes.eq(fires & ends_page),
            opens.eq(waits & free.any()),
            self.done.eq(~working),
        ]
        with m.If(fires):
            m.d.sync += [
                word.eq(Mux(ends_part, 0, word + Mux(older.some, s.step, 1))),
                turn.eq(Mux(ends_part | last_turn, 0, turn + 1)),
            ]
            with m.If(ends_position):
                m.d.sync += [
                    section.eq(0), at.eq(Mux(rest.last, 0, at + 1)), *rest.step(),
                    *left.load(cycles(older.some & ~older.last)),
                ]  # fmt: skip
                with m.If(older.some):
                    m.d.sync += older.step()
            with m.Elif(ends_part):
                m.d.sync += [section.eq(section + 1), *left.load(cycles(older.some))]
            with m.Else():
                m.d.sync += left.step()
        last = Signal()
        m.d.comb += last.eq(rest.last & (slot == slots.last) & (head == less_one(m, f.heads)))
        with m.If(self.start):
            m.d.sync += [
                working.eq(1), waits.eq(1), open_.eq(0),
                *(each.eq(0) for each in (head, slot, at, section, word, turn)),
            ]  # fmt: skip
        with m.Elif(takes):
            m.d.sync += [open_.eq(0), waits.eq(~last), page.eq(page + 1), working.eq(~last)]
            with m.If(rest.last):
                m.d.sync += slot.eq(Mux(slot == slots.last, 0, slot + 1))
                with m.If(slot == slots.last):
                    m.d.sync += head.eq(head + 1)
        with m.Elif(opens):
            m.d.sync += waits.eq(0)
            with m.If(at == 0):
                m.d.sync += [*older.load(begins[0]), *rest.load(begins[1])]
        with m.Elif(working & ~waits & ~open_):
            m.d.sync += [open_.eq(1), *left.load(cycles(older.some))]
        m.d.sync += free.eq(free - (opens & ~self.start) + self.freed)

        # What is loaded lies in its page two cycles later.
        p, given = self.pages, Signal(s.step * WORD_BITS)
        beat = Array([i.payload for i in self.inputs])[slot]
        now = {
            "page": page, "place": at[:PLACE], "word": word, "section": section,
            "old": older.some, "vector": (slots.first[slot] + (at - begins[0]))[:3],
        }  # fmt: skip
        late = {name: Signal(len(value), name=f"late_{name}") for name, value in now.items()}
        fired, full = Signal(), Signal()
        m.d.sync += [
            fired.eq(fires),
            full.eq(takes),
            self.loaded.eq(full),
            *(late[name].eq(value) for name, value in now.items()),
            given.eq(beat.word_select(turn, len(given)) if turns > 1 else beat),
        ]
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
