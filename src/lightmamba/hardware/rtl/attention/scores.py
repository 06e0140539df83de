"""Scores of attention: products of queries and keys, a word of W channels a cycle."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from lightmamba.arch.contract import BLOCK, WORD, WORD_BITS
from lightmamba.hardware.rtl.attention.shape import (
    EXPONENT,
    LEVELS,
    PLACE,
    Shape,
    less_one,
    tile_layout,
)
from lightmamba.hardware.rtl.dsp import Products, Sum
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import add_tree, round_saturate
from lightmamba.numerics.attention import Attention

__all__ = ["SCORE_SHIFTS", "Scores", "Steps", "counted"]

SCORE_SHIFTS = -20, 62  # right shifts of a sum of products (blocks/attention/arithmetic.py)
SUM_BITS = 44  # of a score before its shift, proved below 2^42 (numerics/attention.py)
COLUMNS = BLOCK // WORD  # of 64 bits, of a block: products that a cascade adds
# Bits of the sum of one of two products that share a multiplier: |4 * 128 * 128| = 2^16. The lower
# one gets so much that it is positive, and takes nothing from the upper one.
PACKED_SHIFT = 18
POSITIVE = 1 << PACKED_SHIFT - 1
Pair = tuple[int, int]  # position of a word, row of a tile


class Steps:
    """Walk the words of a page once for each tile, without a pause between tiles.

    Parameters
    ----------
    m : Module
    layout : data.StructLayout
        Of a tile.
    parts : Value
        Parts of a head, stable from the start of a job on.
    shape : Shape
        With the words of a page, and bits of the number of a part.
    by_place : bool
        All parts of a word follow each other; else all words of a part.
    may : Value
        A tile may begin.
    valid, tile : Value
        One is there.

    Attributes
    ----------
    active, begins, ends : Signal
        A step; a tile is taken in this cycle; the last step of one.
    tile, part, place : Signal
    last_part, last_place : Signal
    """

    def __init__(
        self, m: Module, layout: Any, parts: Value, shape: Shape, *, by_place: bool, may: Value,
        valid: Value, tile: Value,
    ) -> None:  # fmt: skip
        self.active, self.begins, self.ends = Signal(), Signal(), Signal()
        widths = layout, shape.bits("parts"), PLACE - shape.within
        self.tile, self.part, self.place = (Signal(width) for width in widths)
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
                self.active.eq(1), self.tile.eq(tile), self.part.eq(0), self.place.eq(0)
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


class Scores(Elaboratable):
    """Multiply R queries with all keys of a page, W channels a cycle: W/M of each of M positions.

    A tile takes 32/M steps for each part of a head, one a cycle. Two products share a multiplier:
    those of a query with two keys, or those of two queries with a key. The four columns of a block
    are a cascade, whose results are added; then the blocks of a position are one, in which each is
    multiplied by the power of two of its exponents.

    Source: ``numerics.attention.Attention.scores``.

    Parameters
    ----------
    shape : Shape
    op : Attention
    fields : command of the unit
    store, pages
        Where queries and keys are read.
    tiles : Tiles
        What comes next.

    Attributes
    ----------
    may : Signal
        There is room for the scores of one tile more.
    begins : Signal
        A tile is taken.
    valid, place, tile, scores
        Scores of a word: position by position, which the tile may not count.
    lost, lost_by
        Those that saturated, and of which vector, a cycle later.
    """

    def __init__(
        self, shape: Shape, op: Attention, fields: Any, store: Any, pages: Any, tiles: Any
    ) -> None:
        self.shape, self.op, self.fields = shape, op, fields
        self.store, self.pages, self.tiles = store, pages, tiles
        self.layout = tile_layout(shape)
        self.may, self.begins, self.valid = Signal(), Signal(), Signal()
        self.place, self.tile = Signal(PLACE - shape.within), Signal(self.layout)
        count = shape.rows * shape.positions
        self.scores = Signal(data.ArrayLayout(signed(op.score.bits), count))
        self.lost, self.lost_by = Signal(count), Signal.like(self.tile.vector)

    @property
    def first(self) -> Value:
        """Place of the first position of a word in its page."""
        bits = self.shape.within
        return Cat(Const(0, bits), self.place) if bits else self.place

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        steps = Steps(
            m, self.layout, self.fields.parts, s, by_place=True, may=self.may,
            valid=self.tiles.valid, tile=self.tiles.tile,
        )  # fmt: skip
        pipe = Pipe(m)
        m.d.comb += [
            self.tiles.ready.eq(steps.begins),
            self.begins.eq(steps.begins),
            self.pages.key.eq(Cat(steps.part, steps.place, steps.tile.page)),
            self.store.query.eq(Cat(steps.part, steps.tile.head, steps.tile.tile)),
        ]
        self._inputs(pipe, steps)
        last = pipe.input(steps.active & steps.last_part)
        shift, found = pipe.input(self.fields.score), {}
        for one, other in self._pairs():
            for key, total in zip(
                (one, other), self._totals(pipe, steps, one, other), strict=False
            ):
                found[key] = round_saturate(
                    pipe, total, pipe.input(shift.value, total.stage),
                    self.op.score, low=SCORE_SHIFTS[0], high=SCORE_SHIFTS[1],
                    levels=LEVELS,
                )  # fmt: skip
        each = [found[position, row] for position in range(s.positions) for row in range(s.rows)]
        stage = each[0][0].stage
        tile, place = (
            pipe.settle(pipe.delay(pipe.input(each), stage - 1)).value
            for each in (steps.tile, steps.place)
        )
        m.d.comb += [
            self.valid.eq(pipe.valid(last.value, stage)),
            self.place.eq(place),
            self.tile.eq(tile),
            Value.cast(self.scores).eq(Cat(value.value for value, _ in each)),
        ]
        counts = [counted(self.place, self.tile.limit, s, n) for n in range(s.positions)]
        m.d.sync += self.lost_by.eq(self.tile.vector)
        m.d.sync += [
            self.lost[n].eq(
                self.valid & counts[n // s.rows] & (n % s.rows < self.tile.rows) & over.value
            )
            for n, (_, over) in enumerate(each)
        ]
        return m

    def _inputs(self, pipe: Pipe, steps: Steps) -> None:
        """Columns of keys and of queries, exponents, and which blocks are part of the head."""
        s, store = self.shape, self.store
        vector = pipe.input(steps.tile.vector)

        def of_vector(each: list[Any], cycle: int) -> Timed:
            """The one of the tile's vector, of those that are there ``cycle`` after the step."""
            return pipe.step(lambda v: Array(each)[v], pipe.delay(vector, cycle))

        self._queries = [
            of_vector(
                [words.word_select(n, WORD_BITS) for words in store.queries],
                s.key_cycle(n % s.per) - 1,
            )
            for n in range(s.rows * s.per)
        ]
        self._keys = [pipe.input(key, s.key_cycle(n)) for n, key in enumerate(self.pages.keys)]
        self._exponents = of_vector(store.query_exps, 1), pipe.input(self.pages.key_exps, 1)
        # A head may be smaller than the words.
        blocks = (self.fields.head_dim + BLOCK - 1) >> (BLOCK.bit_length() - 1)
        self._there = [pipe.input(steps.part * s.blocks + n < blocks) for n in range(s.blocks)]

    def _pairs(self) -> list[tuple[Pair, Pair | None]]:
        """Positions and rows whose products share multipliers."""
        s = self.shape
        if s.positions > 1:
            places = range(0, s.positions, 2)
            return [((n, row), (n + 1, row)) for n in places for row in range(s.rows)]
        return [
            ((0, row), (0, row + 1) if row + 1 < s.rows else None) for row in range(0, s.rows, 2)
        ]

    def _totals(self, pipe: Pipe, steps: Steps, one: Pair, other: Pair | None) -> list[Timed]:
        """Sums over all channels, each block shifted by its exponents, of one or two products."""
        s, multiplied = self.shape, Products(pipe, dsp48e2=self.shape.dsp48e2)
        blocks = [self._block(pipe, multiplied, one, other, n) for n in range(s.blocks)]
        first, found = pipe.input(steps.part == 0), []
        for n, (position, row) in enumerate((one, other) if other else (one,)):
            total: Sum | None = None
            for block, sums in enumerate(blocks):
                exponent = pipe.step(
                    lambda q, k, i=row * s.blocks + block, j=position * s.blocks + block: (
                        q.word_select(i, EXPONENT) + k.word_select(j, EXPONENT)
                    ),
                    *self._exponents,
                )  # fmt: skip
                at = sums[n].stage
                exponent = pipe.settle(pipe.delay(exponent, at - 1))
                on = pipe.settle(pipe.delay(self._there[block], at - 1))
                ends = block == s.blocks - 1 and s.bits("parts")
                total = multiplied(
                    pipe.comb(_scaled, sums[n], exponent), pipe.comb(_power, exponent, on),
                    above=total, fresh=pipe.delay(first, at) if ends else None, bits=SUM_BITS,
                )  # fmt: skip
            assert total is not None
            found.append(total.timed)
        return found

    def _block(
        self, pipe: Pipe, multiplied: Products, one: Pair, other: Pair | None, block: int
    ) -> list[Timed]:
        """Sums of the products of a block, of those that share multipliers."""
        s, sums = self.shape, list[Timed]()
        for byte in range(WORD):
            total: Sum | None = None
            for column in range(block * COLUMNS, (block + 1) * COLUMNS):
                keys, queries = (
                    [_byte(pipe, words[n * s.per + column], byte) for n in numbers]
                    for words, numbers in zip(
                        (self._keys, self._queries), _numbers(one, other), strict=True
                    )
                )
                pair, factor = (queries, keys[0]) if len(keys) == 1 else (keys, queries[0])
                lower, upper = pair[0], None
                if other:
                    upper = pipe.comb(lambda v: v.as_signed().shift_left(PACKED_SHIFT), pair[1])
                else:  # as late as the two of others
                    lower = pipe.delay(lower, lower.stage + 1)
                total = multiplied(
                    lower, factor, also=upper, above=total,
                    constant=0 if total else POSITIVE, bits=2 * PACKED_SHIFT,
                )  # fmt: skip
            assert total is not None
            sums.append(total.timed)
        halves = [pipe.comb(_lower, v) for v in sums], [pipe.comb(_upper, v) for v in sums]
        return [add_tree(pipe, half, levels=1) for half in halves[: 2 if other else 1]]


def _numbers(one: Pair, other: Pair | None) -> list[list[int]]:
    """Positions and rows of one or two products, without what they share."""
    both = [one, other] if other else [one]
    return [list(dict.fromkeys(each)) for each in zip(*both, strict=True)]


def _byte(pipe: Pipe, word: Timed, number: int) -> Timed:
    return pipe.comb(lambda v: v.word_select(number, 8).as_signed(), word)


def _lower(value: Value) -> Value:
    """Sum in the lower bits, to which :data:`POSITIVE` was added."""
    return Cat(value[: PACKED_SHIFT - 1], ~value[PACKED_SHIFT - 1]).as_signed()


def _upper(value: Value) -> Value:
    return value[PACKED_SHIFT:].as_signed()


def _scaled(value: Value, exponent: Value) -> Value:
    """Times 16 where the exponent is 16 and more."""
    return Mux(exponent[-1], value.shift_left(4), value)


def _power(exponent: Value, on: Value) -> Value:
    """Two to the exponent, or to 4 less where it is 16 and more; 0 of a block that is not there."""
    less = Mux(exponent[-1], Cat(exponent[:2], Const(0b11, 2)), exponent[:4])
    return Cat(*(on & (less == n) for n in range(16)), Const(0, 1)).as_signed()
