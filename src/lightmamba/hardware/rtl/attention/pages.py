"""Pages of keys and values: loaded from memory, and from what the pass itself adds."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.utils import exact_log2

from lightmamba.arch.contract import WORD, WORD_BITS
from lightmamba.hardware.rtl.attention.shape import EXPONENT, PLACE, POSITION_BITS, Shape, less_one
from lightmamba.hardware.rtl.attention.store import Columns, Store, ram
from lightmamba.hardware.rtl.attention.tiles import Slots
from lightmamba.hardware.rtl.job import Countdown
from lightmamba.hardware.rtl.pipe import select

__all__ = ["Loader", "Pages"]


class Pages(Elaboratable):
    """Memory of pages: W channels of keys, and of values, a word; of M positions.

    Attributes
    ----------
    page, place, part : Signal
        Where something is written: page, position, word of a head.
    key_words, value_words : Signal
        Words of 64 bits that are written, of each position of a word.
    of_row : Signal
        ``data`` is written: as many bytes as come at once, of keys and their values, or as often as
        they fit of one of the two. Else ``fresh``, 64 bits, everywhere.
    exponents, exps : Signal
        Positions whose exponents are written, a cycle later; keys' and values' of each.
    key, value_at : Signal
        Addresses: part, place of the word, page, from the lowest bit.
    keys, values : list of Value
        Columns of 64 bits, each as many cycles later as :class:`Shape` says.
    key_exps, value_exps : Signal
        One cycle later.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.page, self.place = Signal(shape.page_bits), Signal(PLACE)
        self.part = Signal(shape.bits("parts"))
        count, columns = shape.positions, range(shape.per * shape.positions)
        self.key_words, self.value_words = (Signal(shape.per * count) for _ in range(2))
        self.of_row, self.data = Signal(), Signal(shape.step * 8)
        self.fresh = Signal(WORD_BITS)
        self.exponents, self.exps = Signal(count), Signal(2 * shape.exponent_bits * count)
        address = shape.bits("parts") + PLACE - shape.within + shape.page_bits
        self.key, self.value_at = Signal(address), Signal(address)
        self.keys, self.values = (
            [Signal(WORD_BITS, name=f"{name}{n}") for n in columns] for name in ("key", "value")
        )
        exps = shape.blocks * EXPONENT * count
        self.key_exps, self.value_exps = Signal(exps), Signal(exps)

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        parts, place = s.bits("parts"), Cat(self.place[s.within :], self.page)
        columns, each = len(self.keys), s.exponent_bits
        late_exps, late_place = Signal.like(self.exps), Signal(len(place))  # those of a cycle ago
        late_exponents = Signal.like(self.exponents)
        m.d.sync += [
            late_exps.eq(self.exps), late_place.eq(place), late_exponents.eq(self.exponents)
        ]  # fmt: skip
        for n, (name, cycle, words, address, found, found_exps) in enumerate((
            ("keys", s.key_cycle, self.key_words, self.key, self.keys, self.key_exps),
            ("values", s.value_cycle, self.value_words, self.value_at, self.values,
             self.value_exps),
        )):  # fmt: skip
            store = Columns(
                m, name, s.pages * s.words << parts, [cycle(column) for column in range(columns)]
            )
            given = self._arriving(n)
            given = given.replicate(columns * WORD_BITS // len(given))
            store.write(
                Cat(self.part, place),
                [Mux(self.of_row, given.word_select(column, WORD_BITS), self.fresh)
                 for column in range(columns)],
                [words[column] for column in range(columns)],
            )  # fmt: skip
            m.d.comb += [
                mine.eq(data) for mine, data in zip(found, store.read(address), strict=True)
            ]
            exps = ram(m, f"{name}_exps", each * s.positions, s.pages * s.words)
            enter, read = exps.write_port(granularity=each), exps.read_port()
            chosen = Signal(max(1, parts), name=f"{name}_part")
            m.d.sync += chosen.eq(address[:parts])
            each_of, of_one, kept = range(s.positions), len(found_exps) // s.positions, read.data
            m.d.comb += [
                enter.addr.eq(late_place),
                enter.data.eq(_joined(late_exps.word_select(2 * i + n, each) for i in each_of)),
                enter.en.eq(late_exponents),
                read.addr.eq(address[parts:]),
                found_exps.eq(
                    _joined(_part(kept, i, each).word_select(chosen, of_one) for i in each_of)
                ),
            ]
        return m

    def _arriving(self, value: int) -> Value:
        """Keys, or values, of what comes: of every whole position, or of as much as there is."""
        mine = min(self.shape.wide * 8, len(self.data))
        if self.shape.at_once == 1:
            return self.data[len(self.data) - mine :] if value else self.data[:mine]
        return Cat(self.data.word_select(2 * i + value, mine) for i in range(self.shape.at_once))


class Loader(Elaboratable):
    """Fill pages, head by head, slot by slot: earlier positions from memory, then new ones.

    Load min(W, head_dim) channels of keys and of values per cycle from memory, and 64 bits per
    cycle of a new position. The first page of a slot takes two more cycles. Exponents come in rows,
    one for as many positions as a row has words of 64 bits.

    Attributes
    ----------
    start : Signal
    freed, loaded : Signal
        A page has been used for the last time; one is there.
    done : Signal
        All of the job are loaded.
    """

    def __init__(
        self, shape: Shape, fields: Any, slots: Slots, store: Store, pages: Pages, rows: Any
    ) -> None:
        self.shape, self.fields, self.slots = shape, fields, slots
        self.store, self.pages, self.rows = store, pages, rows
        self.start, self.freed, self.loaded, self.done = (Signal() for _ in range(4))

    def elaborate(self, platform: object) -> Module:
        m, s, f, slots = Module(), self.shape, self.fields, self.slots
        address, exponents, new = self.store.reads[0]
        free = Signal(range(s.pages + 1), init=s.pages)
        page = Signal.like(self.pages.page)
        head, slot = Signal(s.bits("heads")), Signal(range(max(2, s.tokens)))
        at = Signal(POSITION_BITS)
        # Positions of the slot that memory has, and new ones.
        older, rest = Countdown(POSITION_BITS, s.at_once), Countdown(POSITION_BITS)
        once_log2 = exact_log2(s.at_once)
        # Of a new position key, value and exponents one after the other; of an older one all of it.
        section, word = Signal(2), Signal(6)
        left, count = Countdown(7), f.head_dim[3:]  # cycles of the section
        step, header = Signal(range(max(2, s.steps))), Signal()  # of a row; it has exponents
        # A page is to come; its slot is known; it is being loaded.
        working, waits, opens, open_ = Signal(), Signal(), Signal(), Signal()
        fires, takes = Signal(), Signal()
        ends_part, ends_position, ends_page, ends_row = (Signal() for _ in range(4))
        before = slots.before[slot]
        last, over = Signal(), Signal()  # position of all, of the slot
        m.d.comb += [
            over.eq(rest.last & ~older.some),
            last.eq(over & (slot == slots.last) & (head == less_one(m, f.heads))),
        ]
        per_row = s.row // WORD  # positions whose exponents a row holds

        def cycles(old: Value) -> Value:
            """Cycles of an older position, or of a new key or value."""
            return Mux(old, f.parts << exact_log2(s.splits), count)[:7]

        m.d.comb += [
            fires.eq(open_ & Mux(older.some, self.rows.valid, self.store.whole)),
            ends_position.eq(Mux(older.some, left.last & ~header, section == 2)),
            ends_part.eq(ends_position | (~older.some & left.last)),
            # Behind the last older position is nothing of its run.
            ends_row.eq((step == s.steps - 1) | (ends_position & older.last)),
            self.rows.ready.eq(open_ & older.some & ends_row),
            address.eq(Cat(word[: self.store.word_bits], section[0], head)),
            exponents.eq(section == 2),
            ends_page.eq(ends_position & self._full(at, older, rest, before)),
            takes.eq(fires & ends_page),
            opens.eq((waits | (takes & ~over)) & free.any()),
            self.done.eq(~working),
        ]
        with m.If(fires & older.some):
            m.d.sync += step.eq(Mux(ends_row, 0, step + 1))
        with m.If(fires & header):
            m.d.sync += header.eq(~ends_row)
        with m.Elif(fires):
            m.d.sync += word.eq(Mux(ends_part, 0, word + 1))
            with m.If(ends_position):
                m.d.sync += [
                    section.eq(0),
                    *left.load(cycles(older.some & ~older.last)),
                    header.eq(older.some & ~older.last & at[once_log2 : exact_log2(per_row)].all()),
                ]  # fmt: skip
                with m.If(older.some):
                    m.d.sync += [
                        *older.step(), at.eq(Mux(older.last, before, at + s.at_once))
                    ]  # fmt: skip
                with m.Else():
                    m.d.sync += [*rest.step(), at.eq(Mux(rest.last, 0, at + 1))]
            with m.Elif(ends_part):
                m.d.sync += [section.eq(section + 1), *left.load(count)]
            with m.Else():
                m.d.sync += left.step()
        with m.If(self.start):
            m.d.sync += [
                working.eq(1), waits.eq(1), open_.eq(0),
                *(each.eq(0) for each in (head, slot, at, section, word, step)),
            ]  # fmt: skip
        with m.Elif(takes):
            m.d.sync += [
                open_.eq(opens), waits.eq(~last & ~opens), page.eq(page + 1), working.eq(~last)
            ]  # fmt: skip
            with m.If(over):
                m.d.sync += slot.eq(Mux(slot == slots.last, 0, slot + 1))
                with m.If(slot == slots.last):
                    m.d.sync += head.eq(head + 1)
        with m.Elif(opens):
            m.d.sync += waits.eq(0)
            with m.If(at == 0):
                m.d.sync += [*older.load(before), *rest.load(slots.count[slot])]
        with m.Elif(working & ~waits & ~open_):
            m.d.sync += [open_.eq(1), *left.load(cycles(older.some))]
            with m.If(at == 0):
                m.d.sync += header.eq(older.some)
        opened = Signal()  # a page takes two cycles at least
        m.d.sync += [opened.eq(opens & ~self.start), free.eq(free - opened + self.freed)]

        # Exponents of as many positions as a row has; whole steps are written, words are read.
        row, wide = Value.cast(self.rows.payload), s.step * 8
        now = Signal(wide)  # looked at many times
        m.d.comb += now.eq(row.word_select(step, wide) if s.steps > 1 else row)
        codes = Cat(s.exponents_of(now.word_select(n, WORD_BITS)) for n in range(s.step // WORD))
        kept = ram(m, "exponents", len(codes), s.steps)
        enter, read = kept.write_port(), kept.read_port()
        within, each = at[: exact_log2(per_row)], exact_log2(s.step // WORD)
        m.d.comb += [
            enter.addr.eq(step),
            enter.data.eq(codes),
            enter.en.eq(fires & header),
            read.addr.eq(within[each:]),
        ]
        wide = 2 * s.exponent_bits * s.at_once
        words = [read.data.word_select(n, wide) for n in range(len(read.data) // wide)]

        # What is loaded lies in its page two cycles later.
        p = self.pages
        late = self._late(m, {
            "fired": fires & ~header, "full": takes, "page": page, "place": at[:PLACE],
            "word": word, "section": section, "old": older.some, "data": now,
            "which": within[once_log2:each],
            "vector": (slots.first[slot] + (at - before))[:3],
        })  # fmt: skip
        m.d.sync += self.loaded.eq(late["full"])
        fresh = Signal(WORD_BITS)
        copies = s.positions // s.at_once
        m.d.comb += [
            fresh.eq(Array(new)[late["vector"]]),
            p.page.eq(late["page"]),
            p.place.eq(late["place"]),
            p.of_row.eq(late["old"]),
            p.data.eq(late["data"]),
            p.fresh.eq(fresh),
            p.exponents.eq(
                self._of_positions(
                    late,
                    late["fired"] & Mux(late["old"], late["word"] == 0, late["section"] == 2),
                    1,
                )
            ),
            p.exps.eq(Mux(
                late["old"], select(m, late["which"], words).replicate(copies),
                s.exponents_of(fresh).replicate(s.positions),
            )),
        ]  # fmt: skip
        self._words(m, late)
        return m

    def _full(self, at: Value, older: Countdown, rest: Countdown, before: Value) -> Value:
        """Whether a page is full with what comes now, or the slot has no more."""
        bits = exact_log2(self.shape.at_once)
        part = older.last & before[:bits].any()  # new ones follow in the same word
        return Mux(older.some, at[bits:PLACE].all() & ~part, at[:PLACE].all() | rest.last)

    def _of_positions(self, late: dict[str, Signal], value: Value, width: int) -> Value:
        """For every position of a word: the value, if the position comes now; else 0."""
        bits, once_log2 = self.shape.within, exact_log2(self.shape.at_once)
        if not bits:
            return value
        place, found = late["place"][:bits], []
        for n in range(self.shape.positions):
            together = Const(1, 1)
            if bits > once_log2:
                together = place[once_log2:] == n >> once_log2
            mine = Mux(late["old"], together, place == n)
            found.append(Mux(mine, value[:width], 0))
        return Cat(found)

    @staticmethod
    def _late(m: Module, now: dict[str, Value]) -> dict[str, Signal]:
        """Everything a cycle later."""
        late = {name: Signal(len(value), name=f"late_{name}") for name, value in now.items()}
        m.d.sync += [late[name].eq(value) for name, value in now.items()]
        return late

    def _words(self, m: Module, late: dict[str, Signal]) -> None:
        """Which words of a page are written."""
        p, s, word = self.pages, self.shape, late["word"]
        splits, within = exact_log2(s.splits), exact_log2(s.per)
        size = s.step // WORD  # of what comes at once
        old = [Const(-1, s.per)] * 2  # of the key, of the value
        if splits:
            portion = word[: splits - 1]
            mask = Cat((portion == n).replicate(size) for n in range(s.per // size))
            old = [Mux(word[splits - 1] == n, mask, 0) for n in range(2)]
        one = Cat(word[:within] == n for n in range(s.per))
        for n, words in enumerate((p.key_words, p.value_words)):
            fresh = Mux(late["section"] == n, one, 0)
            mine = Mux(late["fired"], Mux(late["old"], old[n], fresh), 0)
            m.d.comb += words.eq(self._of_positions(late, mine, s.per))
        m.d.comb += p.part.eq(Mux(late["old"], word[splits:], word[within:]))


def _joined(values: Iterable[Value]) -> Value:
    """One value of several, or the only one as it is."""
    found = list(values)
    return found[0] if len(found) == 1 else Cat(found)


def _part(word: Value, number: int, bits: int) -> Value:
    """Part of a word, or all of it as it is."""
    return word if len(word) == bits else word.word_select(number, bits)
