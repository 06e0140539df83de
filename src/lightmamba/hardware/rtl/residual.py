"""Residual stream: held on chip, set by the embedding, added to by every out_proj."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import OUT_ROWS, command, i_stream, o_stream
from lightmamba.hardware.rtl.pairs import Pairs
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import saturate, tree_steps
from lightmamba.hardware.rtl.squares import LATENCY as SQUARES
from lightmamba.hardware.rtl.squares import SUM_BITS, sum_of_squares
from lightmamba.numerics.formats import INT24, INT32

__all__ = ["Residual"]

SQUARE_SHIFT = 8  # the stream is squared as int24
ROW_BITS = 36


class Residual(wiring.Component):
    """Set the stream, or add a row to each channel; pass on the new values and their squares.

    A command works on channels 0 to count - 1, in order, ``width`` of them per cycle while ``o`` is
    ready: 0 and 1, 2 and 3, ..., whichever of them come together. Its count is at least 1 and at
    most ``channels``; what an odd one leaves of its last pair becomes 0. New values are offered on
    ``o`` ``latency`` cycles after the last of their rows was taken, the sum of squares
    ``sum_latency`` cycles after the last row.

    Source: ``engine.Engine.layer`` (addition), ``numerics.linear.RmsNorm`` (squares).

    Parameters
    ----------
    channels : int
        That the memory holds.
    width : int
        Rows that may come in a cycle, 1 or 2.

    Members
    -------
    command : In(stream of command("residual"))
    i_embed : In(stream of s32)
        Values that set the stream (``add`` 0).
    i_row : In(stream of OUT_ROWS)
        Rows of out_proj (``add`` 1), one or two.
    o : Out(stream of width x s32)
        Every new value, where ``emit`` is 1.
    o_sum : Out(stream of u61)
        Sum of the squares of int24(round_shift(value, 8)), once per command with ``emit`` 1.
    probe : Out({valid, value width x s32})
        Every new value.
    lost : Out(range(width + 1))
        Sums that were saturated.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency, interval = 6, 1

    def __init__(self, channels: int, width: int = 1) -> None:
        self.channels, self.width = channels, width
        self.sum_latency = 8 + SQUARES + tree_steps(width, 1)
        values = data.ArrayLayout(signed(INT32.bits), width)
        super().__init__(
            {
                "command": i_stream(command("residual")),
                "i_embed": i_stream(signed(32)),
                "i_row": i_stream(OUT_ROWS),
                "o": o_stream(values),
                "o_sum": o_stream(unsigned(SUM_BITS)),
                "probe": Out(data.StructLayout({"valid": 1, "value": values})),
                "lost": Out(range(width + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        add, emit, rows = job.fields.add, job.fields.emit, self.i_row.payload
        depth, written = -(-self.channels // self.width), Signal()
        index, given = Signal(range(max(2, depth))), Signal(signed(ROW_BITS))
        pairs, room = Pairs(m, 15, self.width), Signal()
        m.d.comb += given.eq(Mux(add, rows.first, self.i_embed.payload))
        valid = Mux(add, self.i_row.valid, self.i_embed.valid)
        pairs.connect(valid, room, given, rows.second, add & rows.both)
        issue, final = pairs.issue, pairs.final

        m.submodules.stream = stream = memory.Memory(
            shape=self.o.payload.shape(), depth=depth, init=[]
        )
        read, write = stream.read_port(), stream.write_port()
        m.d.comb += read.addr.eq(index)
        whole = pipe.input(pairs.whole)
        values, narrow, lost = [], [], []
        for n, item in enumerate(pairs.items):
            old = pipe.step(lambda v: v, pipe.input(read.data[n], 1))
            row = pipe.step(lambda v: v, pipe.input(item), shape=signed(ROW_BITS))
            adds = pipe.comb(lambda w, n=n: add & (w | (n == 0)), whole)
            total = pipe.step(lambda u, r, a: Mux(a, u, 0) + r, old, row, adds, shape=signed(37))
            value, over = saturate(pipe, total, INT32)
            rounded = pipe.step(lambda v: (v + (1 << SQUARE_SHIFT >> 1)) >> SQUARE_SHIFT, value)
            values.append(value)
            lost.append(over.value)
            narrow.append(saturate(pipe, rounded, INT24)[0])
        squares = sum_of_squares(pipe, narrow, issue, index == 0)

        stage, new = values[0].stage, Cat(value.value for value in values)
        arrives, done = pipe.valid(issue, stage), pipe.valid(final, squares.stage)
        address = pipe.delay(pipe.input(index), stage)
        m.d.comb += [
            write.en.eq(arrives),
            write.addr.eq(address.value),
            write.data.eq(new),
            self.probe.valid.eq(arrives),
            self.probe.value.eq(new),
            self.lost.eq(sum(arrives & over for over in lost)),
        ]
        queue = Queue(m, self.o, latency=stage)
        queue.connect(issue & emit, arrives & emit, new)
        sums = Queue(m, self.o_sum, latency=squares.stage)
        sums.connect(final & emit, done & emit, squares.value)
        m.d.comb += [
            room.eq(~emit | (queue.room & sums.room)),
            self.i_row.ready.eq(pairs.some & room & add),
            self.i_embed.ready.eq(pairs.some & room & ~add),
        ]
        with m.If(job.start):
            m.d.sync += [*pairs.load(self.command.payload.count), index.eq(0), written.eq(0)]
        with m.Elif(issue):
            m.d.sync += index.eq(index + 1)
        with m.Elif(done):
            m.d.sync += written.eq(1)
        job.end(written & ~queue.busy & ~sums.busy)
        return m
