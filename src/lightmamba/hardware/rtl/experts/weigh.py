"""Hidden values of a block times its weight: ``weighted`` of numerics.routing."""

from typing import Any

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.numerics.routing import ONE

__all__ = ["Weigh"]

HIDDEN_BITS, WEIGHT_BITS = 24, ONE.bit_length()


class Weigh(wiring.Component):
    """Multiply the hidden values of a block by its weight, which is at most one.

    A job takes one weight. One channel per cycle; ``latency`` cycles from the transfer of a channel
    to its value on ``o``.

    Source: ``numerics.routing.weighted``.

    Parameters
    ----------
    config : ArchConfig
        Its kinds of layers.

    Members
    -------
    command : In(stream of command("weigh"))
        ``count`` channels, at least 1.
    i : In(stream of s24)
    i_weight : In(stream of u16)
        Weights with 15 fractional bits, one for each job.
    o : Out(stream of s24)
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency, interval = 5, 1

    command: Any
    i: Any
    i_weight: Any
    o: Any
    busy: Any

    def __init__(self, config: ArchConfig) -> None:
        super().__init__(
            {
                "command": i_stream(command("weigh", config)),
                "i": i_stream(signed(HIDDEN_BITS)),
                "i_weight": i_stream(unsigned(WEIGHT_BITS)),
                "o": o_stream(signed(HIDDEN_BITS)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job, left = Pipe(m), Job(m, self.command, self.busy), Countdown(15)
        weight, there = Signal(WEIGHT_BITS), Signal()
        issue = Signal()

        hidden = pipe.step(lambda v: v, pipe.input(self.i.payload))
        product = pipe.step(lambda v: v * weight, hidden)
        half = 1 << (WEIGHT_BITS - 2)
        value = pipe.step(
            lambda p: (p + half) >> (WEIGHT_BITS - 1), product, shape=signed(HIDDEN_BITS)
        )
        queue = Queue(m, self.o, latency=value.stage)
        queue.connect(issue, pipe.valid(issue, value.stage), value.value)
        m.d.comb += [
            self.i.ready.eq(left.some & there & queue.room),
            issue.eq(self.i.ready & self.i.valid),
            self.i_weight.ready.eq(job.active & left.some & ~there),
        ]
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.count), there.eq(0)]
        with m.Elif(self.i_weight.valid & self.i_weight.ready):
            m.d.sync += [weight.eq(self.i_weight.payload), there.eq(1)]
        with m.Elif(issue):
            m.d.sync += left.step()
        job.end(~left.some & ~queue.busy)
        return m
