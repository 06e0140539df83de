"""Means of values: the sums of a head, divided by the sums of its weights."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed

from lightmamba.blocks.attention.hardware import SUM_BITS, TOTAL_BITS
from lightmamba.hardware.rtl.attention.shape import Queries, Shape, less_one
from lightmamba.hardware.rtl.interpolation import reciprocal
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed
from lightmamba.hardware.rtl.shifts import round_saturate, shift_cut, split_product
from lightmamba.numerics.attention import Attention

__all__ = ["MEAN_SHIFTS", "Divide"]

MEAN_SHIFTS = 0, 62  # right shifts of a product to the output: 31, and that of the layer
WIDE = 36  # bits of a sum divided by the power of two of its weights
DATAPATH = 28  # cycles without the queue


class Divide(Elaboratable):
    """Divide the sums of all vectors, a channel a cycle: query by query of each head.

    Source: ``numerics.attention.Attention.divide``.

    Parameters
    ----------
    shape : Shape
    op : Attention
    fields : command of the unit
    weights, sums
        Where they are read.
    o : stream
        A mean of each vector.
    lost : list of Signal
        By vector: a mean was saturated.

    Attributes
    ----------
    start, done : Signal
        Of a job: all heads have been divided, and taken.
    head_done : Signal
        Nothing more of a head is read.
    """

    def __init__(
        self, shape: Shape, op: Attention, fields: Any, weights: Any, sums: Any, o: Any, lost: Any
    ) -> None:
        self.shape, self.op, self.fields = shape, op, fields
        self.weights, self.sums, self.o, self.lost = weights, sums, o, lost
        self.start, self.done, self.head_done = Signal(), Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        m, s, f = Module(), self.shape, self.fields
        queue = Queue(m, self.o, latency=DATAPATH)
        there = Signal(range(3))  # heads whose sums are complete
        head, odd = Signal(8), Signal()
        group = Queries(s, less_one(m, f.per_group))
        tile, row = group.tile, group.row
        channel = Signal(8)
        last_head = less_one(m, f.heads)
        working, issue, ends_query, ends_head = (Signal() for _ in range(4))
        m.d.comb += [
            issue.eq(working & there.any() & queue.room),
            ends_query.eq(issue & (channel == less_one(m, f.head_dim))),
            ends_head.eq(ends_query & group.last),
            self.head_done.eq(ends_head),
            self.done.eq(~working & ~queue.busy),
        ]
        m.d.sync += there.eq(there + self.sums.head_summed - ends_head)
        with m.If(self.start):
            m.d.sync += [
                working.eq(1),
                *(each.eq(0) for each in (head, odd, channel, *group.counters)),
            ]
        with m.Elif(issue):
            m.d.sync += channel.eq(Mux(ends_query, 0, channel + 1))
            with m.If(ends_query):
                m.d.sync += group.step(ends_head)
            with m.If(ends_head):
                m.d.sync += [
                    odd.eq(~odd),
                    head.eq(head + 1),
                    working.eq(head != last_head),
                ]

        lane_bits, within = (s.lanes - 1).bit_length(), (s.wide - 1).bit_length()
        part = channel[within : within + s.bits("parts")]
        m.d.comb += [
            self.sums.sum_at.eq(Cat(channel[lane_bits:within], part, tile, odd)),
            self.weights.total_at.eq(Cat(tile, odd)),
        ]
        pipe = Pipe(m)
        shift = pipe.input((f.mean + 31)[:6].as_unsigned())
        picked_row = pipe.delay(pipe.input(row), 1)
        lane = pipe.input(channel[:lane_bits])
        results = []
        for n in range(s.tokens):
            total = pipe.step(
                lambda r, n=n: self.weights.totals[n].word_select(r, TOTAL_BITS), picked_row,
                shape=TOTAL_BITS,
            )  # fmt: skip
            of_row = pipe.step(
                lambda r, n=n: self.sums.sums[n].word_select(r, s.lanes * SUM_BITS), picked_row,
                shape=s.lanes * SUM_BITS,
            )  # fmt: skip
            value = pipe.step(
                lambda v, b: v.word_select(b, SUM_BITS) if len(b) else v, of_row, lane,
                shape=signed(SUM_BITS),
            )  # fmt: skip
            results.append(self._divide(pipe, total, value, shift))
        stage = results[0][0].stage
        if stage > DATAPATH:
            raise ValueError(f"a mean takes {stage} cycles, more than {DATAPATH}")
        arrives = pipe.valid(issue, DATAPATH)
        for (_, over), lost in zip(results, self.lost, strict=True):
            m.d.comb += lost.eq(arrives & pipe.delay(over, DATAPATH).value)
        queue.connect(issue, arrives, Cat(pipe.delay(v, DATAPATH).value for v, _ in results))
        return m

    def _divide(self, pipe: Pipe, total: Timed, value: Timed, shift: Timed) -> tuple[Timed, Timed]:
        """Mean, and whether it was saturated."""
        op = self.op
        mantissa, zeros = reciprocal(pipe, total, op.reciprocal.nodes)
        # The exponent j of the sum, as numerics.tables.Reciprocal has it; never negative below 16.
        places = TOTAL_BITS - 16
        by = pipe.step(lambda z: Mux(z > places, 0, (places - z)[:5]), zeros, shape=5)
        twice = shift_cut(pipe, value, by, WIDE + 1, high=31)
        wide = pipe.step(lambda v: (v + 1) >> 1, twice, shape=signed(WIDE))
        product = split_product(pipe, wide, mantissa)
        by = pipe.input(shift.value, product.stage)
        return round_saturate(pipe, product, by, op.out, low=MEAN_SHIFTS[0], high=MEAN_SHIFTS[1])
