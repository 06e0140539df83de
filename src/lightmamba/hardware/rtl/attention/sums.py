"""Sums of weighted values: a page in an array of multipliers, then added to those before it."""

from itertools import product
from typing import Any

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value

from lightmamba.arch.contract import BLOCK, WORD
from lightmamba.blocks.attention.hardware import SUM_BITS, WEIGHT_BITS, in_blocks
from lightmamba.hardware.rtl.attention.scores import Steps
from lightmamba.hardware.rtl.attention.shape import EXPONENT, LEVELS, PLACE, Shape, tile_layout
from lightmamba.hardware.rtl.attention.store import kept_by_vector, ram
from lightmamba.hardware.rtl.attention.weights import FALL, FALLS
from lightmamba.hardware.rtl.dsp import Products, Sum
from lightmamba.hardware.rtl.pipe import Pipe, Timed, select
from lightmamba.hardware.rtl.shifts import shift_add, shift_latency

__all__ = ["Sums"]

PAGE_BITS = 46  # of 32 weighted values
# Cycles from the address of a sum until what a page adds to it is needed: its memory, the choice of
# a vector, and all but the last of its shift.
AHEAD = 1 + shift_latency(0, FALLS, LEVELS)


class Sums(Elaboratable):
    """Weigh the values of a page, W channels of R queries a cycle, and add them to what there is.

    A tile takes 32/M steps for each part of a head, one per cycle. A multiplier weighs a channel of
    a position of the word and keeps its sum; the M positions of a channel are a cascade. W/32
    channels of a query begin a cycle later than those before them, and so end, and are taken, a
    cycle later: no sum waits.

    Source: ``numerics.attention.Attention.weigh``.

    Parameters
    ----------
    shape : Shape
    fields : command of the unit
    pages, weights
        Where values and weights are read.

    Attributes
    ----------
    page_freed, head_summed : Signal
        The last tile on a page is through; all sums of a head are there.
    sum_at : Signal
        Which W/32 channels of a part, part, tile and parity of a head, from the lowest bit.
    sums : list of Signal
        By vector, R·W/32 sums, one cycle later: query by query.
    """

    def __init__(self, shape: Shape, fields: Any, pages: Any, weights: Any) -> None:
        self.shape, self.fields, self.pages, self.weights = shape, fields, pages, weights
        self.layout = tile_layout(shape)
        self.page_freed, self.head_summed = Signal(), Signal()
        self.sum_at = Signal(PLACE - shape.within + shape.bits("parts") + shape.bits("tiles") + 1)
        width = SUM_BITS * shape.rows * shape.lanes
        self.sums = [Signal(width, name=f"sums{n}") for n in range(shape.tokens)]

    def elaborate(self, platform: object) -> Module:
        m, s, w = Module(), self.shape, self.weights
        falls, buffer = Signal(FALL * s.rows), Signal.like(w.buffer)
        steps = Steps(
            m, self.layout, self.fields.parts, s, by_place=False, may=Signal(init=1),
            valid=w.valid, tile=w.tile,
        )  # fmt: skip
        with m.If(steps.begins):
            m.d.sync += falls.eq(w.falls)
        with m.If(steps.ends):
            m.d.sync += buffer.eq(buffer + 1)
        m.d.comb += [
            w.ready.eq(steps.begins),
            w.freed.eq(steps.ends),
            w.place.eq(steps.place),
            w.buffer.eq(buffer),
            self.pages.value_at.eq(Cat(steps.part, steps.place, steps.tile.page)),
        ]
        pipe, columns = Pipe(m), range(len(self.pages.values))
        read = max(s.value_cycle(column) for column in columns)  # the last of a word
        m.d.comb += self.page_freed.eq(pipe.valid(steps.ends & steps.tile.ends, read))
        self._add(m, steps, falls, self._array(pipe, steps))
        return m

    def _array(self, pipe: Pipe, steps: Steps) -> list[list[Timed]]:
        """Sums of a page by query and channel, ``lanes`` channels of each a cycle."""
        s = self.shape
        multiplied, first = Products(pipe, dsp48e2=s.dsp48e2), pipe.input(steps.place == 0)
        weights = pipe.input(self.weights.weights, 1)
        exps = pipe.input(self.pages.value_exps, 1)
        shifts = [
            pipe.step(lambda v, n=n: _by_threes(v.word_select(n, EXPONENT)), exps)
            for n in range(s.positions * s.blocks)
        ]
        found: list[list[Sum | None]] = [[None] * s.wide for _ in range(s.rows)]
        for position, block in product(range(s.positions), range(s.blocks)):
            shift = shifts[position * s.blocks + block]
            begins = 3 + position + block * BLOCK // s.lanes
            own = [
                pipe.step(
                    lambda w, e, n=position * s.rows + row: _weight(
                        w.word_select(n, WEIGHT_BITS), e
                    ),
                    pipe.delay(weights, begins - 1), pipe.delay(shift, begins - 1),
                )
                for row in range(s.rows)
            ]  # fmt: skip
            for channel in range(block * BLOCK, (block + 1) * BLOCK):
                at, number = 3 + position + channel // s.lanes, position * s.per + channel // WORD
                column = pipe.input(self.pages.values[number], s.value_cycle(number))
                value = pipe.comb(
                    lambda v, e, n=channel % WORD: _value(v.word_select(n, 8).as_signed(), e),
                    pipe.delay(column, at), pipe.delay(shift, at),
                )  # fmt: skip
                last = pipe.delay(first, at) if position == s.positions - 1 else None
                for row, weight in enumerate(own):
                    found[row][channel] = multiplied(
                        pipe.delay(weight, at), value, above=found[row][channel], fresh=last,
                        bits=PAGE_BITS,
                    )  # fmt: skip
        return [[each.timed for each in sums if each] for sums in found]

    def _add(self, m: Module, steps: Steps, falls: Value, page: list[list[Timed]]) -> None:
        """Add the sums of a page to what there is, as they leave the array.

        What there is is read and shifted meanwhile.
        """
        s, inner, array = self.shape, Pipe(m), Pipe(m)
        begins = page[0][0].stage - AHEAD  # cycle, of the array, in which its first sum is read
        late = {
            name: array.delay(array.input(value), begins - 1).value
            for name, value in (
                ("part", steps.part), ("tile", steps.tile.as_value()), ("falls", falls),
                ("last", steps.last_part),
            )
        }  # fmt: skip
        here = array.valid(steps.active & steps.last_place, begins - 1)
        moving, place = Signal(), Signal(PLACE - s.within)
        tile, part, last = Signal(self.layout), Signal(s.bits("parts")), Signal()
        by = Signal(FALL * s.rows)
        with m.If(here):
            m.d.sync += [
                moving.eq(1), place.eq(0), tile.eq(late["tile"]), part.eq(late["part"]),
                by.eq(late["falls"]), last.eq(late["last"]),
            ]  # fmt: skip
        with m.Elif(moving):
            m.d.sync += [place.eq(place + 1), moving.eq(place != s.words - 1)]

        address = inner.input(Cat(place, part, tile.tile, tile.odd))
        count = s.rows * s.lanes
        depth = in_blocks(1 << len(address), SUM_BITS * count)
        stores = [ram(m, f"sums{n}", SUM_BITS * count, depth) for n in range(s.tokens)]
        before = [store.read_port() for store in stores]
        m.d.comb += [port.addr.eq(address.value) for port in before]
        vector, fresh = inner.input(tile.vector), inner.input(tile.first)
        old = inner.step(
            lambda v, f: Mux(f, 0, Array([port.data for port in before])[v]),
            inner.delay(vector, 1), inner.delay(fresh, 1), shape=SUM_BITS * count,
        )  # fmt: skip
        found, arrives = [], inner.settle(inner.delay(inner.input(place), AHEAD - 1))
        for n in range(count):
            row, lane = divmod(n, s.lanes)
            value = inner.comb(lambda v, n=n: v.word_select(n, SUM_BITS).as_signed(), old)
            fall = inner.input(by.word_select(row, FALL))
            leaving = [each.value for each in page[row][lane :: s.lanes]]
            term = inner.comb(lambda n, each=leaving: select(m, n, each).as_signed(), arrives)
            found.append(shift_add(inner, value, fall, term, high=FALLS, levels=LEVELS))
        stage = found[0].stage
        if stage != AHEAD + 2 or stage >= s.words:  # the next page may come without a pause
            raise ValueError(f"a sum is added in cycle {stage}, and read again in {s.words}")
        leaves = inner.valid(moving, stage)
        where, vector = (inner.delay(each, stage).value for each in (address, vector))
        values = Cat(each.value for each in found)
        kept_by_vector(m, stores, where, values, leaves, vector, self.sum_at, self.sums)
        ends = moving & (place == s.words - 1) & last & tile.final
        m.d.sync += self.head_summed.eq(inner.valid(ends, stage))


def _by_threes(exponent: Value) -> Value:
    """An exponent's remainder of 3, then how often it has 3; none is above 9."""
    codes = [Const(n % 3 | min(n // 3, 3) << 2, 4) for n in range(1 << EXPONENT)]
    return Array(codes)[exponent]


def _weight(weight: Value, shift: Value) -> Value:
    """Times two to the remainder, which the factor of a multiplier has room for."""
    rest = shift[:2]
    shifted = Mux(rest[1], weight.shift_left(2), Mux(rest[0], weight.shift_left(1), weight))
    return Cat(shifted, Const(0, 1)).as_signed()


def _value(value: Value, shift: Value) -> Value:
    """Times eight as often as the exponent has 3."""
    times = [value.shift_left(3 * n) for n in range(4)]
    return Mux(shift[3], Mux(shift[2], times[3], times[2]), Mux(shift[2], times[1], times[0]))
