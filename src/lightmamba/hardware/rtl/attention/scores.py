"""Scores of attention: products of queries and keys, a word of W channels a cycle."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.rtl.attention.shape import PLACE, Shape, less_one, turn_layout
from lightmamba.hardware.rtl.attention.store import EXPONENT
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import add_tree, round_latency, round_saturate, tree_steps
from lightmamba.numerics.attention import Attention

__all__ = ["SCORE_SHIFTS", "Scores", "Steps", "counted", "shifted_left"]

SCORE_SHIFTS = -20, 62  # right shifts of a sum of products (blocks/attention/arithmetic.py)
EXP_BITS = 5  # of a query's exponent and a key's, added
SUM = signed(44)  # proved below 2^42 (numerics/attention.py)


class Steps:
    """Walk the words of a page once for each turn, without a pause between turns.

    Parameters
    ----------
    m : Module
    layout : data.StructLayout
        Of a turn.
    parts : Value
        Parts of a head, stable from the start of a job on.
    shape : Shape
        With the words of a page, and bits of the number of a part.
    by_place : bool
        All parts of a word follow each other; else all words of a part.
    may : Value
        A turn may begin.
    valid, turn : Value
        One is there.

    Attributes
    ----------
    active, begins, ends : Signal
        A step; a turn is taken in this cycle; the last step of one.
    turn, part, place : Signal
    last_part, last_place : Signal
    """

    def __init__(
        self, m: Module, layout: Any, parts: Value, shape: Shape, *, by_place: bool, may: Value,
        valid: Value, turn: Value,
    ) -> None:  # fmt: skip
        self.active, self.begins, self.ends = Signal(), Signal(), Signal()
        widths = layout, shape.bits("parts"), PLACE - shape.within
        self.turn, self.part, self.place = (Signal(width) for width in widths)
        self.last_part, self.last_place = Signal(), Signal()
        m.d.comb += [
            self.last_part.eq(self.part == less_one(m, parts)),
            self.last_place.eq(self.place == shape.words - 1),
            self.ends.eq(self.active & self.last_part & self.last_place),
            self.begins.eq(valid & may & (~self.active | self.ends)),
        ]
        inner, outer = (self.part, self.place) if by_place else (self.place, self.part)
        wraps = self.last_part if by_place else self.last_place
        with m.If(self.begins):
            m.d.sync += [
                self.active.eq(1), self.turn.eq(turn), self.part.eq(0), self.place.eq(0)
            ]  # fmt: skip
        with m.Elif(self.ends):
            m.d.sync += self.active.eq(0)
        with m.Elif(self.active):
            m.d.sync += inner.eq(Mux(wraps, 0, inner + 1))
            with m.If(wraps):
                m.d.sync += outer.eq(outer + 1)


def counted(place: Value, limit: Value, shape: Shape, position: int) -> Value:
    """Whether a position of the word at ``place`` is one of the first ``limit`` of its page."""
    if shape.positions == 1:
        return place < limit
    return Cat(Const(position, shape.within), place) < limit


def shifted_left(pipe: Pipe, value: Timed, by: Timed, bits: int) -> Timed:
    """Signed ``value << by`` of up to ``bits`` bits more, three levels a cycle."""
    value, by = pipe.align(value, by)
    size = len(by)
    for low in range(0, size, 3):
        places = range(low, min(low + 3, size))

        def levels(v: Value, b: Value, places: range = places) -> Value:
            for place in places:
                v = Mux(b[place], v.as_signed() << (1 << place), v.as_signed())
            return v.as_signed()

        width = min(len(value) + sum(1 << place for place in places), bits)
        value = pipe.step(levels, value, by, shape=signed(width))
    return value


class Scores(Elaboratable):
    """Multiply R queries with all keys of a page, W channels a cycle: W/M of each of M positions.

    A turn takes 32/M steps for each part of a head, one a cycle; scores are there ``cycles`` after
    the last step of their positions.

    Source: ``numerics.attention.Attention.scores``.

    Parameters
    ----------
    shape : Shape
    op : Attention
    fields : command of the unit
    store, pages
        Where queries and keys are read.
    turns : Turns
        What comes next.

    Attributes
    ----------
    may : Signal
        There is room for the scores of one turn more.
    begins : Signal
        A turn is taken.
    valid, place, turn, scores
        Scores of a word: position by position, which the turn may not count.
    lost, lost_by
        Those that saturated, and of which vector, a cycle later.
    """

    def __init__(
        self, shape: Shape, op: Attention, fields: Any, store: Any, pages: Any, turns: Any
    ) -> None:
        self.shape, self.op, self.fields = shape, op, fields
        self.store, self.pages, self.turns = store, pages, turns
        self.layout = turn_layout(shape)
        self.may, self.begins, self.valid = Signal(), Signal(), Signal()
        self.place, self.turn = Signal(PLACE - shape.within), Signal(self.layout)
        count = shape.rows * shape.positions
        self.scores = Signal(data.ArrayLayout(signed(op.score.bits), count))
        self.lost, self.lost_by = Signal(count), Signal.like(self.turn.vector)

    @staticmethod
    def cycles(shape: Shape) -> int:
        """Cycles from a step to its score."""
        sums = 3 + tree_steps(BLOCK, 2) + -(-EXP_BITS // 3) + tree_steps(shape.blocks, 2)
        return sums + 1 + round_latency(*SCORE_SHIFTS)

    @property
    def first(self) -> Value:
        """Place of the first position of a word in its page."""
        bits = self.shape.within
        return Cat(Const(0, bits), self.place) if bits else self.place

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        steps = Steps(
            m, self.layout, self.fields.parts, s, by_place=True, may=self.may,
            valid=self.turns.valid, turn=self.turns.turn,
        )  # fmt: skip
        pipe = Pipe(m)
        m.d.comb += [
            self.turns.ready.eq(steps.begins),
            self.begins.eq(steps.begins),
            self.pages.key.eq(Cat(steps.part, steps.place, steps.turn.page)),
            self.store.query.eq(Cat(steps.part, steps.turn.head, steps.turn.turn)),
        ]
        vector = pipe.delay(pipe.input(steps.turn.vector), 1)
        queries = pipe.step(lambda v: Array(self.store.queries)[v], vector)
        query_exps = pipe.step(lambda v: Array(self.store.query_exps)[v], vector)
        keys = pipe.step(lambda v: v, pipe.input(self.pages.keys, 1))
        key_exps = pipe.step(lambda v: v, pipe.input(self.pages.key_exps, 1))

        first, last = pipe.input(steps.part == 0), pipe.input(steps.active & steps.last_part)
        there = self._there(pipe, steps.part)
        sums = [
            self._sum(pipe, row, position, queries, query_exps, keys, key_exps, there)
            for position in range(s.positions)
            for row in range(s.rows)
        ]
        begins = pipe.settle(pipe.delay(first, sums[0].stage - 1)).value
        shift = pipe.input(self.fields.score)
        found = []
        for one in sums:
            total = Signal(SUM, reset_less=True)
            m.d.sync += total.eq(Mux(begins, 0, total) + one.value)
            found.append(round_saturate(
                pipe, pipe.input(total, one.stage + 1), pipe.input(shift.value, one.stage + 1),
                self.op.score, low=SCORE_SHIFTS[0], high=SCORE_SHIFTS[1],
            ))  # fmt: skip
        stage = found[0][0].stage
        if stage != self.cycles(s):
            raise ValueError(f"a score takes {stage} cycles, not {self.cycles(s)}")
        turn, place = (
            pipe.settle(pipe.delay(pipe.input(each), stage - 1)).value
            for each in (steps.turn, steps.place)
        )
        m.d.comb += [
            self.valid.eq(pipe.valid(last.value, stage)),
            self.place.eq(place),
            self.turn.eq(turn),
            Value.cast(self.scores).eq(Cat(value.value for value, _ in found)),
        ]
        counts = [counted(self.place, self.turn.limit, s, n) for n in range(s.positions)]
        m.d.sync += self.lost_by.eq(self.turn.vector)
        m.d.sync += [
            self.lost[n].eq(
                self.valid & counts[n // s.rows] & (n % s.rows < self.turn.rows) & over.value
            )
            for n, (_, over) in enumerate(found)
        ]
        return m

    def _there(self, pipe: Pipe, part: Value) -> list[Timed]:
        """Whether each block of a word is one of the head, which may be smaller than the words."""
        blocks = (self.fields.head_dim + BLOCK - 1) >> (BLOCK.bit_length() - 1)
        count = self.shape.blocks
        return [pipe.input(part * count + block < blocks) for block in range(count)]

    def _sum(
        self, pipe: Pipe, row: int, position: int, queries: Timed, query_exps: Timed, keys: Timed,
        key_exps: Timed, there: list[Timed],
    ) -> Timed:  # fmt: skip
        """Sum over a position of one word, each block shifted by its exponents."""
        s, blocks = self.shape, []
        for block in range(s.blocks):
            at, of_key = row * s.wide + block * BLOCK, position * s.blocks + block
            products = [
                pipe.step(
                    lambda q, k, i=at + n, j=of_key * BLOCK + n: (
                        q.word_select(i, 8).as_signed() * k.word_select(j, 8).as_signed()
                    ),
                    queries, keys,
                )
                for n in range(BLOCK)
            ]  # fmt: skip
            exponent = pipe.step(
                lambda q, k, i=row * s.blocks + block, j=of_key: (
                    q.word_select(i, EXPONENT) + k.word_select(j, EXPONENT)
                ),
                query_exps, key_exps,
            )  # fmt: skip
            total = pipe.comb(lambda v, on: Mux(on, v, 0), add_tree(pipe, products), there[block])
            total = pipe.comb(lambda v: v.as_signed(), total)
            blocks.append(shifted_left(pipe, total, exponent, len(total) + 18))
        return add_tree(pipe, blocks)
