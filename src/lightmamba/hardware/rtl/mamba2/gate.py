"""Gate: the arithmetic is :class:`lightmamba.numerics.gate.Gate`, with the squares of its norm."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.gated import (
    PRODUCT_SHIFTS,
    SCALED,
    SILU,
    SILU_SHIFTS,
    Y_BITS,
    Z_BITS,
    limit,
    scaled,
    silu,
)
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.squares import LATENCY as SQUARES
from lightmamba.hardware.rtl.squares import SUM_BITS, sum_of_squares
from lightmamba.numerics.gate import Gate as Arithmetic

__all__ = ["Gate"]

WEIGHT_BITS = 16


class Gate(wiring.Component):
    """y·silu(z), its sum of squares per norm group, and its product with the norm's weight.

    One channel per cycle while the operands come and the outputs are taken; ``latency`` cycles
    from the transfer of a channel to its value on ``o``, ``sum_latency`` from the last channel of a
    group to the sum. Counts are at least 1, and groups are whole.

    The queue of sums holds all that a layer has (15 groups), so that the gate never waits for the
    epilogue, which takes 1/rms only once the gate is through.

    Parameters
    ----------
    op : numerics.gate.Gate
        Table of the sigmoid, and the format of both results.

    Members
    -------
    command : In(stream of command("gate"))
    i_y : In(stream of s24)
    i_z : In(stream of s16)
        Operands, taken together.
    i_weight : In(stream of u64)
        Four int16 per word, the first lowest; a command begins with a new word.
    o : Out(stream of s24)
        g·weight.
    o_sum : Out(stream of u61)
        Sum of the squares of g, once per norm group.
    probe : Out({valid, g s24, weighted s24})
        Both results of every channel.
    lost : Out(2)
        How many results were saturated.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency = 1 + SILU + 2 * SCALED + 2
    sum_latency = 1 + SILU + SCALED + SQUARES + 2
    interval = 1

    def __init__(self, op: Arithmetic | None = None) -> None:
        self.op = op or Arithmetic()
        out = signed(self.op.out.bits)
        super().__init__(
            {
                "command": i_stream(command("gate")),
                "i_y": i_stream(signed(Y_BITS)),
                "i_z": i_stream(signed(Z_BITS)),
                "i_weight": i_stream(WORD),
                "o": o_stream(out),
                "o_sum": o_stream(unsigned(SUM_BITS)),
                "probe": Out(data.StructLayout({"valid": 1, "g": out, "weighted": out})),
                "lost": Out(2),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        lane, issue, first = Signal(2), Signal(), Signal(init=1)
        silu_shift = Signal(range(SILU_SHIFTS[0], SILU_SHIFTS[1] + 1))
        shift, weighted_shift = (
            Signal(range(PRODUCT_SHIFTS[0], PRODUCT_SHIFTS[1] + 1), name=name)
            for name in ("shift", "weighted_shift")
        )

        y, z, word, which = (
            pipe.step(lambda v: v, pipe.input(value))
            for value in (self.i_y.payload, self.i_z.payload, self.i_weight.payload, lane)
        )
        weight = pipe.step(lambda w, n: w.word_select(n, WEIGHT_BITS).as_signed(), word, which)
        g, over = scaled(pipe, self.op.out, y, silu(pipe, self.op.silu, z, silu_shift), shift)
        weighted, over_weighted = scaled(pipe, self.op.out, g, weight, weighted_shift)
        squares = sum_of_squares(pipe, [g], issue, first)

        left, group_left = Countdown(15), Countdown(15)
        last, group_last = left.last, group_left.last
        found, arrives = pipe.valid(issue, g.stage), pipe.valid(issue, weighted.stage)
        summed = pipe.valid(issue & group_last, squares.stage)
        queue = Queue(m, self.o, latency=weighted.stage)
        queue.connect(issue, arrives, weighted.value)
        sums = Queue(m, self.o_sum, latency=squares.stage)
        sums.connect(issue & group_last, summed, squares.value)

        ready = Signal()
        m.d.comb += [
            ready.eq(left.some & queue.room & sums.room),
            self.i_y.ready.eq(ready & self.i_z.valid & self.i_weight.valid),
            self.i_z.ready.eq(ready & self.i_y.valid & self.i_weight.valid),
            self.i_weight.ready.eq(ready & self.i_y.valid & self.i_z.valid & ((lane == 3) | last)),
            issue.eq(ready & self.i_y.valid & self.i_z.valid & self.i_weight.valid),
            self.probe.valid.eq(arrives),
            self.probe.g.eq(pipe.delay(g, weighted.stage).value),
            self.probe.weighted.eq(weighted.value),
            self.lost.eq((found & over.value) + (arrives & over_weighted.value)),
        ]
        fields = self.command.payload
        with m.If(job.start):
            m.d.sync += [
                *left.load(fields.count),
                *group_left.load(fields.group_dim),
                lane.eq(0),
                silu_shift.eq(limit(fields.silu, *SILU_SHIFTS)),
                shift.eq(limit(fields.shift, *PRODUCT_SHIFTS)),
                weighted_shift.eq(limit(fields.weighted, *PRODUCT_SHIFTS)),
            ]
        with m.Elif(issue):
            m.d.sync += [*left.step(), first.eq(group_last), lane.eq(lane + 1)]
            with m.If(group_last):
                m.d.sync += group_left.load(job.fields.group_dim)
            with m.Else():
                m.d.sync += group_left.step()
        job.end(~left.some & ~queue.busy & ~sums.busy)
        return m
