"""Residual stream: held on chip, set by the embedding, added to by every out_proj."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import saturate
from lightmamba.hardware.rtl.squares import LATENCY as SQUARES
from lightmamba.hardware.rtl.squares import SUM_BITS, sum_of_squares
from lightmamba.numerics.formats import INT24, INT32

__all__ = ["Residual"]

SQUARE_SHIFT = 8  # the stream is squared as int24
PROBE = data.StructLayout({"valid": 1, "value": signed(INT32.bits)})


class Residual(wiring.Component):
    """Set the stream, or add a row to each channel; pass on the new values and their squares.

    A command works on channels 0 to count - 1, in order, one per cycle while ``o`` is ready. Its
    count is at least 1 and at most ``channels``. A new value is offered on ``o`` ``latency`` cycles
    after its row was taken, the sum of squares ``sum_latency`` cycles after the last row.

    Source: ``engine.Engine.layer`` (addition), ``numerics.linear.RmsNorm`` (squares).

    Parameters
    ----------
    channels : int
        Depth of the memory.

    Members
    -------
    command : In(stream of command("residual"))
    i_embed : In(stream of s32)
        Values that set the stream (``add`` 0).
    i_row : In(stream of s36)
        Rows of out_proj (``add`` 1).
    o : Out(stream of s32)
        Every new value, where ``emit`` is 1.
    o_sum : Out(stream of u61)
        Sum of the squares of int24(round_shift(value, 8)), once per command with ``emit`` 1.
    probe : Out({valid, value s32})
        Every new value.
    lost : Out(1)
        A sum was saturated.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency, sum_latency, interval = 6, 8 + SQUARES, 1

    def __init__(self, channels: int) -> None:
        self.channels = channels
        super().__init__(
            {
                "command": i_stream(command("residual")),
                "i_embed": i_stream(signed(32)),
                "i_row": i_stream(signed(36)),
                "o": o_stream(signed(INT32.bits)),
                "o_sum": o_stream(unsigned(SUM_BITS)),
                "probe": Out(PROBE),
                "lost": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        add, emit = job.fields.add, job.fields.emit
        left, index = Countdown(15), Signal(range(self.channels))
        issue, written = Signal(), Signal()

        m.submodules.stream = stream = memory.Memory(
            shape=signed(INT32.bits), depth=self.channels, init=[]
        )
        read, write = stream.read_port(), stream.write_port()
        m.d.comb += read.addr.eq(index)
        old = pipe.step(lambda v: v, pipe.input(read.data, 1))
        row = pipe.step(
            lambda row, embed: Mux(add, row, embed),
            pipe.input(self.i_row.payload), pipe.input(self.i_embed.payload), shape=signed(36),
        )  # fmt: skip
        total = pipe.step(lambda u, r: Mux(add, u, 0) + r, old, row, shape=signed(37))
        value, over = saturate(pipe, total, INT32)
        rounded = pipe.step(lambda v: (v + (1 << SQUARE_SHIFT >> 1)) >> SQUARE_SHIFT, value)
        narrow, _ = saturate(pipe, rounded, INT24)
        squares = sum_of_squares(pipe, narrow, issue, index == 0)

        arrives = pipe.valid(issue, value.stage)
        address = pipe.delay(pipe.input(index), value.stage)
        m.d.comb += [
            write.en.eq(arrives),
            write.addr.eq(address.value),
            write.data.eq(value.value),
            self.probe.valid.eq(arrives),
            self.probe.value.eq(value.value),
            self.lost.eq(arrives & over.value),
        ]

        last = left.last
        done = pipe.valid(issue & last, squares.stage)
        queue = Queue(m, self.o, latency=value.stage)
        queue.connect(issue & emit, arrives & emit, value.value)
        sums = Queue(m, self.o_sum, latency=squares.stage)
        sums.connect(issue & last & emit, done & emit, squares.value)

        ready = Signal()
        m.d.comb += [
            ready.eq(left.some & (~emit | (queue.room & sums.room))),
            self.i_row.ready.eq(ready & add),
            self.i_embed.ready.eq(ready & ~add),
            issue.eq(ready & Mux(add, self.i_row.valid, self.i_embed.valid)),
        ]
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.count), index.eq(0), written.eq(0)]
        with m.Elif(issue):
            m.d.sync += [*left.step(), index.eq(index + 1)]
        with m.Elif(done):
            m.d.sync += written.eq(1)
        job.end(written & ~queue.busy & ~sums.busy)
        return m
