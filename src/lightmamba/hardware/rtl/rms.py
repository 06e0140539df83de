"""Reciprocal root mean square: from a sum of squares to the factor of an epilogue."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.interpolation import interpolate
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import RMS, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed
from lightmamba.numerics.linear import UNIT
from lightmamba.numerics.tables import Rsqrt

__all__ = ["RmsUnit", "UnitRms"]

SUM = 62  # bits of sum + eps
HALF = SUM // 2
RSQRT = Rsqrt()
STEPS = (16, 8, 4, 2, 1)  # pairs of zero bits that a step of the normalization looks for
DATAPATH = 13  # cycles without the queue


class RmsUnit(wiring.Component):
    """Map each sum of squares to the (mantissa, j) of its reciprocal root.

    ``latency`` cycles from a transfer on ``i`` to ``o.valid``; one sum per cycle. A job is over
    when its last result has been taken.

    Parameters
    ----------
    op : Rsqrt
        The arithmetic.

    Members
    -------
    command : In(stream of rms_in)
        ``count`` sums, and the ``eps`` that is added to each; sum + eps is at least 1.
    i : In(stream of unsigned(61))
        Sums of squares.
    o : Out(stream of RMS)
        One record per sum, in their order.
    busy : Out(1)
        A command is being worked on.
    """

    latency, interval = DATAPATH + 2, 1

    def __init__(self, op: Rsqrt = RSQRT) -> None:
        self.op = op
        super().__init__(
            {
                "command": i_stream(command("rms_in")),
                "i": i_stream(unsigned(61)),
                "o": o_stream(RMS),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        queue = Queue(m, self.o, latency=DATAPATH)

        # A job has fewer sums than the queue has room for, and begins when it is empty.
        left, issue = Signal.like(job.fields.count), Signal()
        m.d.comb += [
            self.i.ready.eq(left != 0),
            issue.eq(self.i.valid & self.i.ready),
        ]
        with m.If(job.start):
            m.d.sync += left.eq(self.command.payload.count)
        with m.Elif(issue):
            m.d.sync += left.eq(left - 1)
        job.end((left == 0) & ~queue.busy)

        given = pipe.step(lambda v: v, pipe.input(self.i.payload))
        f, j = self._normalize(pipe, self._add(pipe, given, job.fields.eps))
        offset = pipe.step(lambda v: v - (1 << 14), f, shape=unsigned(16))
        mantissa = interpolate(pipe, self.op.nodes, offset)
        result = pipe.comb(lambda v, j: Cat(v[:16], j), mantissa, j)
        queue.connect(issue, pipe.valid(issue, DATAPATH), pipe.delay(result, DATAPATH).value)
        return m

    @staticmethod
    def _add(pipe: Pipe, x: Timed, eps: Signal) -> Timed:
        """Sum and epsilon, the lower half first. Two cycles."""
        low = pipe.step(lambda v: v[:HALF] + eps[:HALF], x)
        high = pipe.delay(pipe.comb(lambda v: v[HALF:], x), low.stage)
        return pipe.step(
            lambda low, high: Cat(low[:HALF], high + eps[HALF:] + low[HALF]),
            low, high, shape=unsigned(SUM),
        )  # fmt: skip

    @staticmethod
    def _normalize(pipe: Pipe, s: Timed) -> tuple[Timed, Timed]:
        """Split s into f·4^j. Five cycles; j one more.

        Source: ``numerics.tables.Rsqrt.normalize``. Pairs of leading zeros are shifted out; what
        no later step can bring into the upper 16 bits is dropped on the way.
        """
        found: list[Timed] = []
        for pairs in STEPS:
            zero = pipe.comb(lambda v, n=2 * pairs: ~v[-n:].any(), s)
            width = 2 * (8 + pairs - 1)
            s = pipe.step(
                lambda v, z, n=2 * pairs, w=width: Mux(z, _top(v, n, w), _top(v, 0, w)),
                s, zero, shape=unsigned(width),
            )  # fmt: skip
            found.insert(0, pipe.delay(zero, s.stage))
        j = pipe.step(lambda *bits: 23 - Cat(bits), *found, shape=signed(6))
        return s, j


def _top(value: Value, drop: int, width: int) -> Value:
    """``width`` bits of ``value`` below its ``drop`` highest, with zeros after the last."""
    kept = value[max(0, len(value) - drop - width) : len(value) - drop]
    return Cat(Const(0, width - len(kept)), kept)


class UnitRms(wiring.Component):
    """Give 1/rms of one whenever it is taken, for layers without a norm in front of out_proj.

    Members
    -------
    o : Out(stream of RMS)
        Always valid.
    """

    latency, interval = 0, 1

    o: Any

    def __init__(self) -> None:
        super().__init__({"o": o_stream(RMS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mantissa, j = UNIT
        m.d.comb += [
            self.o.valid.eq(1),
            self.o.payload.mantissa.eq(mantissa),
            self.o.payload.j.eq(j),
        ]
        return m
