"""Hidden values of an MLP: the arithmetic is ``GatedSilu`` and ``SquaredRelu`` of numerics.mlp."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.spine import rows_per_cycle
from lightmamba.hardware.rtl.gated import (
    PRODUCT_SHIFTS,
    SCALED,
    SILU,
    SILU_SHIFTS,
    Z_BITS,
    limit,
    scaled,
    silu,
)
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.numerics.mlp import GatedSilu

__all__ = ["Hidden"]


class Hidden(wiring.Component):
    """silu(a)·b, or the square of max(a, 0).

    One channel per cycle while the operands come and the output is taken; ``latency`` cycles from
    the transfer of a channel to its value on ``o``. Where rows come one by one
    (:func:`rows_per_cycle`), or those of an odd number of lanes, b may be behind a, which waits for
    it here.

    Parameters
    ----------
    config : ArchConfig
        Its kinds of layers, and how many rows come in a cycle.
    op : numerics.mlp.GatedSilu
        Table of the sigmoid, and the format of the result, which is that of ``SquaredRelu``, too.

    Members
    -------
    command : In(stream of command("hidden"))
        ``count`` channels, at least 1.
    i_a, i_b : In(stream of s16)
        Operands; b only where the job is gated, and not before its a.
    o : Out(stream of s24)
        Hidden values.
    lost : Out(1)
        A result was saturated.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency = 1 + SILU + 1 + SCALED + 2
    interval = 1

    command: Any
    i_a: Any
    i_b: Any
    o: Any
    lost: Any
    busy: Any

    def __init__(self, config: ArchConfig, op: GatedSilu | None = None) -> None:
        self.op = op or GatedSilu()
        # Whether a row and the one behind it may come apart.
        self.apart = rows_per_cycle(config) == 1 or config.lanes % 2 == 1
        super().__init__(
            {
                "command": i_stream(command("hidden", config)),
                "i_a": i_stream(signed(Z_BITS)),
                "i_b": i_stream(signed(Z_BITS)),
                "o": o_stream(signed(self.op.out.bits)),
                "lost": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        left, gated, issue = Countdown(15), Signal(), Signal()
        silu_shift = Signal(range(SILU_SHIFTS[0], SILU_SHIFTS[1] + 1))
        shift = Signal(range(PRODUCT_SHIFTS[0], PRODUCT_SHIFTS[1] + 1))

        i_a = self._waiting(m, left.some) if self.apart else self.i_a
        a, b = (pipe.step(lambda v: v, pipe.input(i.payload)) for i in (i_a, self.i_b))
        curve = silu(pipe, self.op.silu, a, silu_shift)
        positive = pipe.comb(lambda v: Mux(v < 0, 0, v)[:Z_BITS].as_signed(), a)
        mode = pipe.input(gated, curve.stage)  # a job's, which stays until its last value is out
        first = pipe.step(_chosen, mode, curve, positive)
        second = pipe.step(_chosen, mode, b, positive)
        value, over = scaled(pipe, self.op.out, second, first, shift)

        queue = Queue(m, self.o, latency=value.stage)
        arrives = pipe.valid(issue, value.stage)
        queue.connect(issue, arrives, value.value)
        ready, enough = Signal(), self.i_b.valid | ~gated
        m.d.comb += [
            ready.eq(left.some & queue.room),
            issue.eq(ready & i_a.valid & enough),
            i_a.ready.eq(ready & enough),
            self.i_b.ready.eq(ready & i_a.valid & gated),
            self.lost.eq(arrives & over.value),
        ]
        fields = self.command.payload
        with m.If(job.start):
            m.d.sync += [
                *left.load(fields.count),
                gated.eq(fields.gated),
                silu_shift.eq(limit(fields.silu, *SILU_SHIFTS)),
                shift.eq(limit(fields.shift, *PRODUCT_SHIFTS)),
            ]
        with m.Elif(issue):
            m.d.sync += left.step()
        job.end(~left.some & ~queue.busy)
        return m

    def _waiting(self, m: Module, more: Value) -> Any:
        """Stream of the values of a: one is taken before it is asked for, of those of the job."""
        o = stream.Signature(signed(Z_BITS)).create()
        kept, full = Signal(signed(Z_BITS)), Signal()
        m.d.comb += [
            self.i_a.ready.eq(more & ~full),
            o.valid.eq(full | self.i_a.valid & more),
            o.payload.eq(Mux(full, kept, self.i_a.payload)),
        ]
        with m.If(o.valid):
            m.d.sync += full.eq(~o.ready)
        with m.If(~full):
            m.d.sync += kept.eq(self.i_a.payload)
        return o


def _chosen(gated: Value, one: Value, other: Value) -> Value:
    return Mux(gated, one, other)[:Z_BITS].as_signed()
