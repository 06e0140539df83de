"""Weights of attention: powers of two of scores, page by page, under a running maximum."""

from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo

from lightmamba.blocks.attention.hardware import TOTAL_BITS, WEIGHT_BITS, buffers
from lightmamba.hardware.rtl.attention.scores import counted
from lightmamba.hardware.rtl.attention.shape import PLACE, Shape, tile_layout
from lightmamba.hardware.rtl.attention.store import kept_by_vector, ram
from lightmamba.hardware.rtl.interpolation import exp2
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import shift_add
from lightmamba.numerics.attention import Attention

__all__ = ["FALL", "FALLS", "Weights"]

FRACTION = 16  # bits of a score
FLOOR = signed(16)
FALL, FALLS = 6, 62  # bits of a fall of the sums, and the largest


class Weights(Elaboratable):
    """Weigh the positions of a page, R queries and M positions at a time.

    A tile takes 32/M cycles, one for each word.

    Source: ``numerics.attention.Attention.weigh``.

    Parameters
    ----------
    shape : Shape
    op : Attention
    scores : Scores
        Whose scores these are.

    Attributes
    ----------
    freed : Signal
        Weights of a tile have been used.
    valid, ready : Signal
        The weights of a tile are complete; it is taken.
    tile, falls : Signal
        That tile, and by how much what was summed before it is shifted right.
    buffer, place : Signal
        Address of weights.
    weights : Signal
        R weights of each of M positions, one cycle later.
    total_at : Signal
        Tile and parity of a head.
    totals : list of Signal
        By vector, R sums of weights of that tile, one cycle later.
    """

    def __init__(self, shape: Shape, op: Attention, scores: Any) -> None:
        self.shape, self.op, self.scores = shape, op, scores
        self.layout, self.buffers = tile_layout(shape), buffers(shape.positions)
        self.freed, self.valid, self.ready = (Signal() for _ in range(3))
        self.tile, self.falls = Signal(self.layout), Signal(FALL * shape.rows)
        self.buffer, self.place = Signal(range(self.buffers)), Signal(PLACE - shape.within)
        self.weights = Signal(WEIGHT_BITS * shape.rows * shape.positions)
        self.total_at = Signal(shape.bits("tiles") + 1)
        self.totals = [
            Signal(TOTAL_BITS * shape.rows, name=f"totals{n}") for n in range(shape.tokens)
        ]

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        room = Signal(range(self.buffers + 1), init=self.buffers)
        m.d.comb += self.scores.may.eq(room.any())
        scored, done = Signal(), Signal()
        m.d.sync += room.eq(room - self.scores.begins + done)

        store = ram(m, "scores", 32 * s.rows * s.positions, self.buffers * s.words)
        largest, tile_in = self._arriving(m, store, scored)
        # Tiles whose scores are complete.
        m.submodules.complete = complete = fifo.SyncFIFOBuffered(
            width=FLOOR.width * s.rows + self.layout.size, depth=self.buffers + 1
        )
        m.d.comb += [
            complete.w_en.eq(scored),
            complete.w_data.eq(Cat(largest, tile_in)),
        ]
        self._weigh(m, store, complete, done)
        return m

    def _arriving(self, m: Module, store: Any, scored: Signal) -> tuple[Value, Value]:
        """Keep scores, and find the largest floor of those that count; when all are there."""
        s, given = self.shape, self.scores
        buffer, enter = Signal(range(self.buffers)), store.write_port()
        m.d.comb += [
            enter.addr.eq(Cat(given.place, buffer)),
            enter.data.eq(given.scores),
            enter.en.eq(given.valid),
        ]
        largest = [Signal(FLOOR, name=f"largest{row}") for row in range(s.rows)]
        valid, counts, begins, last, tile, floors = self._floors(m)
        for best, floor in zip(largest, floors, strict=True):
            with m.If(valid & counts & (begins | (floor > best))):
                m.d.sync += best.eq(floor)
        ends = Signal()
        m.d.comb += ends.eq(valid & last)
        kept = Signal(self.layout, reset_less=True)
        m.d.sync += [scored.eq(ends), kept.eq(tile)]
        # Scores of the next page are kept at once, whenever the floors of this one are looked at.
        whole = ends if s.positions == 1 else given.valid & (given.place == s.words - 1)
        with m.If(whole):
            m.d.sync += buffer.eq(buffer + 1)
        return Cat(largest), kept.as_value()

    def _floors(self, m: Module) -> tuple[Value, Value, Value, Value, Any, list[Value]]:
        """Largest floors of a word, a cycle later for each time that its positions are halved.

        Returns whether a word is there, counts, begins and ends its page, then its tile, and its
        largest floor by query.
        """
        s, given, pipe = self.shape, self.scores, Pipe(m)
        counts = [
            pipe.input(counted(given.place, given.tile.limit, s, n)) for n in range(s.positions)
        ]
        tops = []
        for row in range(s.rows):
            each = [
                (pipe.input(given.scores[n * s.rows + row][FRACTION:].as_signed()), counts[n])
                for n in range(s.positions)
            ]
            while len(each) > 1:  # those that count come first
                each = [
                    (pipe.step(_larger, *first, *second), pipe.delay(first[1], second[0].stage + 1))
                    for first, second in zip(each[::2], each[1::2], strict=True)
                ]
            tops.append(each[0][0].value)
        found = (
            counts[0], pipe.input(given.place == 0), pipe.input(given.place == s.words - 1),
            pipe.input(given.tile.as_value()),
        )  # fmt: skip
        counts_, begins, last, tile = (pipe.delay(each, s.within).value for each in found)
        there = pipe.valid(given.valid, s.within)
        return there, counts_, begins, last, data.View(self.layout, tile), tops

    def _weigh(self, m: Module, store: Any, complete: Any, done: Signal) -> None:
        s = self.shape
        tile = data.View(self.layout, complete.r_data[FLOOR.width * s.rows :])
        current, now = Signal(self.layout), [Signal(FLOOR, name=f"now{r}") for r in range(s.rows)]
        falls = [Signal(FALL, name=f"fall{r}") for r in range(s.rows)]
        room = Signal(range(self.buffers + 1), init=self.buffers)  # for weights
        active, place = Signal(), Signal(PLACE - s.within)
        reads, writes = Signal(range(self.buffers)), Signal(range(self.buffers))
        begins, ends, settled = Signal(), Signal(), Signal()  # what is kept of a tile is read
        m.d.sync += settled.eq(complete.r_rdy)
        m.d.comb += [
            ends.eq(active & (place == s.words - 1)),
            begins.eq(settled & room.any() & (~active | ends)),
            complete.r_en.eq(begins),
            done.eq(ends),
        ]
        m.d.sync += room.eq(room - begins + self.freed)
        with m.If(begins):
            m.d.sync += [active.eq(1), place.eq(0), current.eq(tile)]
        with m.Elif(active):
            m.d.sync += [place.eq(place + 1), active.eq(~ends)]
        with m.If(ends):
            m.d.sync += reads.eq(reads + 1)

        # The maximum so far, by vector and tile; what the first page finds replaces it.
        maxima = ram(m, "maxima", FLOOR.width * s.rows, s.tokens << s.bits("tiles"))
        enter, read = maxima.write_port(), maxima.read_port(domain="comb")
        m.d.comb += read.addr.eq(Cat(tile.tile, tile.vector))
        kept = Signal(FLOOR.width * s.rows, reset_less=True)
        m.d.sync += kept.eq(read.data)
        for row in range(s.rows):
            before = kept.word_select(row, FLOOR.width).as_signed()
            found = complete.r_data.word_select(row, FLOOR.width).as_signed()
            grows = tile.limit.any() & (found > before)
            fall = Signal(signed(FLOOR.width + 1), name=f"grown{row}")
            with m.If(begins):
                m.d.sync += [
                    now[row].eq(Mux(tile.first | grows, found, before)),
                    fall.eq(Mux(tile.first | ~grows, 0, found - before)),
                ]
            m.d.sync += falls[row].eq(Mux(fall > FALLS, FALLS, fall[:FALL]))
        late = Signal()
        m.d.sync += late.eq(begins)
        m.d.comb += [
            enter.addr.eq(Cat(current.tile, current.vector)),
            enter.data.eq(Cat(now)),
            enter.en.eq(late),
        ]

        pipe, rows = Pipe(m), []
        port = store.read_port()
        m.d.comb += port.addr.eq(Cat(place, reads))
        for n in range(s.rows * s.positions):
            position, row = divmod(n, s.rows)
            if row == 0:
                counts = pipe.input(counted(place, current.limit, s, position))
            score = pipe.input(port.data.word_select(n, 32).as_signed(), 1)
            score = pipe.step(lambda v: v, score)
            top = pipe.delay(pipe.input(now[row]), 2)
            below = pipe.step(
                lambda v, n: (((n + 1) << FRACTION) - v)[:34], score, top, shape=unsigned(34)
            )
            power = exp2(pipe, below, self.op.exp2)
            rows.append(pipe.step(_weight, power, counts, shape=unsigned(WEIGHT_BITS)))
        self._results(m, pipe, rows, current, falls, active, place, writes)

    def _results(
        self, m: Module, pipe: Pipe, rows: list[Timed], current: Any, falls: list[Any],
        active: Value, place: Value, writes: Signal,
    ) -> None:  # fmt: skip
        """Keep the weights of a tile, add them up, and hand the tile on."""
        s, stage = self.shape, rows[0].stage
        kept = ram(m, "weights", WEIGHT_BITS * s.rows * s.positions, self.buffers * s.words)
        enter, read = kept.write_port(), kept.read_port()
        here = pipe.valid(active, stage)
        at = pipe.settle(pipe.delay(pipe.input(place), stage - 1)).value
        first = pipe.settle(pipe.delay(pipe.input(place == 0), stage - 1)).value
        tile = data.View(self.layout, pipe.delay(pipe.input(current), stage).value)
        fall = pipe.delay(pipe.input(Cat(falls)), stage).value
        ends = here & (at == s.words - 1)
        with m.If(ends):
            m.d.sync += writes.eq(writes + 1)
        m.d.comb += [
            enter.addr.eq(Cat(at, writes)),
            enter.data.eq(Cat(row.value for row in rows)),
            enter.en.eq(here),
            read.addr.eq(Cat(self.place, self.buffer)),
            self.weights.eq(read.data),
        ]
        m.submodules.weighed = weighed = fifo.SyncFIFOBuffered(
            width=self.layout.size + FALL * s.rows, depth=self.buffers + 1
        )
        m.d.comb += [
            weighed.w_en.eq(ends),
            weighed.w_data.eq(Cat(tile, fall)),
            self.valid.eq(weighed.r_rdy),
            weighed.r_en.eq(self.ready),
            Cat(self.tile, self.falls).eq(weighed.r_data),
        ]
        self._totals(m, rows, here, first, ends, tile, fall)

    def _totals(
        self, m: Module, rows: list[Timed], here: Value, first: Value, ends: Value, tile: Any,
        fall: Value,
    ) -> None:  # fmt: skip
        """Add a page's weights to those before it, by vector, parity of the head and tile."""
        s, pipe = self.shape, Pipe(m)
        page_bits = WEIGHT_BITS + PLACE
        address = pipe.input(Cat(tile.tile, tile.odd), 0)
        stores = [
            ram(m, f"totals{n}", TOTAL_BITS * s.rows, 2 << s.bits("tiles")) for n in range(s.tokens)
        ]
        before = [store.read_port(domain="comb") for store in stores]
        m.d.comb += [port.addr.eq(address.value) for port in before]
        old = pipe.step(lambda v: v, pipe.input(
            Mux(tile.first, 0, Array([port.data for port in before])[tile.vector])
        ))  # fmt: skip
        late, found = max(0, s.within - 1), []  # cycles of the additions before the last one
        counts, begins = pipe.valid(here, late), pipe.delay(pipe.input(first), late).value
        for row in range(s.rows):
            page = Signal(page_bits, name=f"page{row}", reset_less=True)
            each = [pipe.input(weight.value) for weight in rows[row :: s.rows]]
            while len(each) > 2:  # two are added to those of the page
                pairs = zip(each[::2], each[1::2], strict=True)
                each = [pipe.step(lambda v, w: v + w, *pair) for pair in pairs]
            added = sum((value.value for value in each[1:]), each[0].value)
            with m.If(counts):
                m.d.sync += page.eq(Mux(begins, 0, page) + added)
            total = pipe.comb(
                lambda v, r=row: Cat(v.word_select(r, TOTAL_BITS), 0).as_signed(), old
            )
            by = pipe.input(fall.word_select(row, FALL))
            term = pipe.comb(lambda v: Cat(v, 0).as_signed(), pipe.input(page, late + 1))
            found.append(pipe.comb(
                lambda v: v[:TOTAL_BITS], shift_add(pipe, total, by, term, high=FALLS)
            ))  # fmt: skip
        stage = found[0].stage
        leaves, where = pipe.valid(ends, stage), pipe.delay(address, stage).value
        vector = pipe.delay(pipe.input(tile.vector), stage).value
        values = Cat(each.value for each in found)
        kept_by_vector(m, stores, where, values, leaves, vector, self.total_at, self.totals)


def _larger(first: Value, counts: Value, second: Value, also: Value) -> Value:
    """Larger floor of two positions, of which the second one may not count."""
    return Mux(also & (second > first), second, first)


def _weight(value: Value, counts: Value) -> Value:
    """Weight of a score below the maximum, which is less than one; else nothing."""
    return Mux(counts, value[:WEIGHT_BITS], 0)
