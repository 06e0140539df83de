"""Sums of weighted values: a page in an array of multipliers, then added to those before it."""

from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from lightmamba.arch.contract import BLOCK
from lightmamba.blocks.attention.hardware import SUM_BITS, WEIGHT_BITS
from lightmamba.hardware.rtl.attention.scores import Steps, shifted_left
from lightmamba.hardware.rtl.attention.shape import PLACE, Shape, turn_layout
from lightmamba.hardware.rtl.attention.store import EXPONENT, kept_by_vector, ram
from lightmamba.hardware.rtl.attention.weights import FALL, FALLS
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import add_tree, shift_add, shift_latency

__all__ = ["Sums"]

VALUE_BITS = 17  # of an int8 shifted by its exponent
PAGE_BITS = 46  # of 32 weighted values
ADDED = 4 + shift_latency(0, FALLS)  # cycles from the address of a sum to its new value


class Sums(Elaboratable):
    """Weigh the values of a page, W channels of R queries a cycle, and add them to what there is.

    A turn takes 32/M steps for each part of a head, one per cycle. A part's sums are shifted out
    during the next part, W·R/32 per cycle.

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
        The last turn on a page is through; all sums of a head are there.
    sum_at : Signal
        Channel of a run of 32/M, part, turn and parity of a head, from the lowest bit.
    sums : list of Signal
        By vector, R·W/32 sums, one cycle later: query by query, run by run.
    """

    def __init__(self, shape: Shape, fields: Any, pages: Any, weights: Any) -> None:
        self.shape, self.fields, self.pages, self.weights = shape, fields, pages, weights
        self.layout = turn_layout(shape)
        self.page_freed, self.head_summed = Signal(), Signal()
        self.sum_at = Signal(PLACE - shape.within + shape.bits("parts") + shape.bits("turns") + 1)
        self.runs = shape.wide // shape.run  # of a query
        self.lanes = shape.rows * self.runs
        self.sums = [Signal(SUM_BITS * self.lanes, name=f"sums{n}") for n in range(shape.tokens)]

    def elaborate(self, platform: object) -> Module:
        m, s, w = Module(), self.shape, self.weights
        falls, buffer = Signal(FALL * s.rows), Signal.like(w.buffer)
        steps = Steps(
            m, self.layout, self.fields.parts, s, by_place=False, may=Signal(init=1),
            valid=w.valid, turn=w.turn,
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
            self.pages.value_at.eq(Cat(steps.part, steps.place, steps.turn.page)),
        ]
        freed = Signal()  # the last word has left the page's memory
        m.d.sync += [freed.eq(steps.ends & steps.turn.ends), self.page_freed.eq(freed)]

        pipe = Pipe(m)
        values = pipe.step(lambda v: v, pipe.input(self.pages.values, 1))
        exps = pipe.step(lambda v: v, pipe.input(self.pages.value_exps, 1))
        weights = pipe.step(lambda v: v, pipe.input(w.weights, 1))
        shifted = [self._value(pipe, values, exps, n) for n in range(s.channels)]
        products = [
            [self._products(pipe, weights, shifted[n :: s.wide], row) for n in range(s.wide)]
            for row in range(s.rows)
        ]
        stage = products[0][0].stage
        first = pipe.settle(pipe.delay(pipe.input(steps.place == 0), stage - 1)).value
        page = [
            [Signal(signed(PAGE_BITS), reset_less=True, name=f"page{r}_{n}")
             for n in range(s.wide)]
            for r in range(s.rows)
        ]  # fmt: skip
        for sums, added in zip(page, products, strict=True):
            m.d.sync += [
                total.eq(Mux(first, 0, total) + each.value)
                for total, each in zip(sums, added, strict=True)
            ]
        here = pipe.valid(steps.active & steps.last_place, stage + 1)
        self._add(m, pipe, steps, falls, page, here, stage + 1)
        return m

    def _value(self, pipe: Pipe, values: Timed, exps: Timed, n: int) -> Timed:
        value = pipe.comb(lambda v: v.word_select(n, 8).as_signed(), values)
        by = pipe.comb(lambda e: e.word_select(n // BLOCK, EXPONENT), exps)
        return shifted_left(pipe, value, by, VALUE_BITS)

    def _products(self, pipe: Pipe, weights: Timed, values: list[Timed], row: int) -> Timed:
        """Weighted values of a channel, of all positions of a word."""
        rows = self.shape.rows
        each = [
            pipe.step(
                lambda w, v, k=position * rows + row: (
                    Cat(w.word_select(k, WEIGHT_BITS), 0).as_signed() * v
                ),
                weights, value,
            )
            for position, value in enumerate(values)
        ]  # fmt: skip
        return add_tree(pipe, each, levels=1)

    def _add(
        self, m: Module, pipe: Pipe, steps: Steps, falls: Value, page: list[list[Any]],
        here: Signal, stage: int,
    ) -> None:  # fmt: skip
        """Take the sums of a word out of the array, and add them one channel of a block a cycle."""
        s = self.shape
        late = {
            name: pipe.delay(pipe.input(value), stage).value
            for name, value in (
                ("part", steps.part), ("turn", steps.turn.as_value()), ("falls", falls),
                ("last", steps.last_part),
            )
        }  # fmt: skip
        held = [
            Signal(data.ArrayLayout(signed(PAGE_BITS), s.run), name=f"held{n}", reset_less=True)
            for n in range(self.lanes)
        ]
        moving, place = Signal(), Signal(PLACE - s.within)
        turn, part, last = Signal(self.layout), Signal(s.bits("parts")), Signal()
        by = Signal(FALL * s.rows)
        with m.If(here):
            m.d.sync += [
                moving.eq(1), place.eq(0), turn.eq(late["turn"]), part.eq(late["part"]),
                by.eq(late["falls"]), last.eq(late["last"]),
            ]  # fmt: skip
            for n, lane in enumerate(held):
                row, run = divmod(n, self.runs)
                m.d.sync += lane.eq(Cat(page[row][run * s.run : (run + 1) * s.run]))
        with m.Elif(moving):
            m.d.sync += [place.eq(place + 1), moving.eq(place != s.run - 1)]
            m.d.sync += [lane.eq(lane.as_value()[PAGE_BITS:]) for lane in held]

        inner = Pipe(m)
        address = inner.input(Cat(place, part, turn.turn, turn.odd))
        depth = 1 << len(address)
        stores = [ram(m, f"sums{n}", SUM_BITS * self.lanes, depth) for n in range(s.tokens)]
        before = [store.read_port() for store in stores]
        m.d.comb += [port.addr.eq(address.value) for port in before]
        vector, fresh = inner.input(turn.vector), inner.input(turn.first)
        old = inner.step(
            lambda v, f: Mux(f, 0, Array([port.data for port in before])[v]),
            inner.delay(vector, 1), inner.delay(fresh, 1), shape=SUM_BITS * self.lanes,
        )  # fmt: skip
        found = []
        for n, lane in enumerate(held):
            row = n // self.runs
            value = inner.comb(lambda v, n=n: v.word_select(n, SUM_BITS).as_signed(), old)
            fall = inner.input(by.word_select(row, FALL))
            found.append(shift_add(inner, value, fall, inner.input(lane[0]), high=FALLS))
        stage = found[0].stage
        if stage != ADDED:
            raise ValueError(f"a sum takes {stage} cycles, not {ADDED}")
        leaves = inner.valid(moving, stage)
        where, vector = (inner.delay(each, stage).value for each in (address, vector))
        values = Cat(each.value for each in found)
        kept_by_vector(m, stores, where, values, leaves, vector, self.sum_at, self.sums)
        ends = moving & (place == s.run - 1) & last & turn.final
        m.d.sync += self.head_summed.eq(inner.valid(ends, stage))
