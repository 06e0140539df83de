"""Hadamard unit: the arithmetic is :class:`lightmamba.numerics.gate.OnlineHadamard`.

One butterfly per stage, with a delay line of feedback (Wold and Despain, "Pipeline and
Parallel-Pipeline FFT Processors", 1984): a few adders instead of one for every pair.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import round_saturate
from lightmamba.numerics.formats import INT24
from lightmamba.numerics.gate import OnlineHadamard

__all__ = ["Butterfly", "HadamardUnit"]

REGISTERS = 2  # delays up to here are registers, longer ones a memory
SHIFTS = 0, 31


class Butterfly(wiring.Component):
    """Sum and difference of elements ``delay`` apart, in place; one register.

    Of each run of 2·delay elements the first half waits in the line; with the second half come the
    sums, and the differences take their place in the line and leave with the next run. So
    element n comes out with element n + delay. Nothing moves without ``i_valid``.

    Parameters
    ----------
    delay : int
        A power of two.
    bits : int
        Width of an input; an output has one bit more.

    Members
    -------
    restart : In(1)
        The next input is the first of a run, and nothing is in the line.
    on : In(1)
        0: pass inputs through, with the same register.
    i_valid : In(1)
    i : In(signed(bits))
    o_valid : Out(1)
    o : Out(signed(bits + 1))
    """

    def __init__(self, delay: int, bits: int) -> None:
        self.delay, self.bits = delay, bits
        super().__init__(
            {
                "restart": In(1),
                "on": In(1),
                "i_valid": In(1),
                "i": In(signed(bits)),
                "o_valid": Out(1),
                "o": Out(signed(bits + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(2 * self.delay))  # place in a run
        second, full = count[-1], Signal()
        oldest, newest = Signal(signed(self.bits + 1)), Signal(signed(self.bits + 1))
        result = Signal(signed(self.bits + 1), reset_less=True)
        # One addition each, all choices before it: oldest - i, or i; oldest + i, oldest, or i.
        kept, given = Mux(second, oldest, 0), Mux(second, ~self.i, self.i)
        carried = Cat(second, kept).as_signed() + Cat(second, given).as_signed()
        m.d.comb += [newest.eq(carried[1:].as_signed()), self.o.eq(result)]
        m.d.sync += [
            result.eq(Mux(self.on, oldest, 0) + Mux(second | ~self.on, self.i, 0)),
            self.o_valid.eq(self.i_valid & (~self.on | second | full)),
        ]
        with m.If(self.restart):
            m.d.sync += [count.eq(0), full.eq(0)]
        with m.Elif(self.i_valid):
            m.d.sync += [count.eq(count + 1), full.eq(full | second)]

        if self.delay <= REGISTERS:
            line = [
                Signal(signed(self.bits + 1), reset_less=True, name=f"line{n}")
                for n in range(self.delay)
            ]
            m.d.comb += oldest.eq(line[-1])
            with m.If(self.i_valid):
                m.d.sync += [new.eq(old) for new, old in zip(line, [newest, *line], strict=False)]
        else:
            m.submodules.line = ring = memory.Memory(
                shape=signed(self.bits + 1), depth=self.delay, init=[]
            )
            read, write = ring.read_port(), ring.write_port()
            m.d.comb += [
                # The port always shows the place that is written next.
                read.en.eq(self.i_valid),
                read.addr.eq(count[:-1] + 1),
                oldest.eq(read.data),
                write.en.eq(self.i_valid),
                write.addr.eq(count[:-1]),
                write.data.eq(newest),
            ]
        return m


class HadamardUnit(wiring.Component):
    """Transform runs of 1 to 128 elements, norm groups zero-padded; shift, round, saturate.

    One element per cycle while the input comes and ``o`` is taken. An output leaves ``latency``
    cycles after the element that came order - 1 places after it. The zeros of the padding, and
    order - 1 more after the last group, are the unit's own and take a cycle each. A norm group
    with its padding must be a multiple of the order.

    Parameters
    ----------
    op : numerics.gate.OnlineHadamard
        Largest order (``pad``) and format of the result; a command chooses the order.

    Members
    -------
    command : In(stream of command("hadamard"))
    i : In(stream of s24)
    o : Out(stream of s32)
        Elements in the order of ``fast_hadamard``, those of the padding too.
    lost : Out(1)
        A result was saturated. 128 sums of int24 fit 31 bits, so int32 never does.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    latency, interval = 14, 1

    def __init__(self, op: OnlineHadamard | None = None) -> None:
        self.op = op or OnlineHadamard()
        self.stages = self.op.pad.bit_length() - 1
        super().__init__(
            {
                "command": i_stream(command("hadamard")),
                "i": i_stream(signed(INT24.bits)),
                "o": o_stream(signed(self.op.out.bits)),
                "lost": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        on = Signal(self.stages)  # by stage, the shortest delay first; as a number, order - 1
        feed, zero = Signal(), Signal()
        early = Signal(self.stages)  # beats still to come before the first element leaves
        issue = feed & (early == 0)

        valid, value = Signal(), Signal(signed(INT24.bits), reset_less=True)
        m.d.sync += [valid.eq(feed), value.eq(Mux(zero, 0, self.i.payload))]
        for n in reversed(range(self.stages)):
            m.submodules[f"stage{n}"] = stage = Butterfly(1 << n, len(value))
            m.d.comb += [
                stage.restart.eq(job.start),
                stage.on.eq(on[n]),
                stage.i_valid.eq(valid),
                stage.i.eq(value),
            ]
            valid, value = stage.o_valid, stage.o

        mixed = pipe.input(value, 1 + self.stages)
        shift = pipe.input(job.fields.shift, mixed.stage)
        low, high = SHIFTS
        result, over = round_saturate(pipe, mixed, shift, self.op.out, low=low, high=high)
        arrives = pipe.valid(valid, result.stage - mixed.stage)
        queue = Queue(m, self.o, latency=result.stage)
        queue.connect(issue, arrives, result.value)
        m.d.comb += self.lost.eq(arrives & over.value)
        with m.If(feed & (early != 0)):
            m.d.sync += early.eq(early - 1)

        fields = self.command.payload
        left, groups, padding = Signal(15), Signal(4), Signal()
        with m.FSM() as fsm:
            with m.State("WAIT"), m.If(job.start):
                orders = Cat(fields.order_log2 > n for n in range(self.stages))
                m.d.sync += [
                    on.eq(orders),
                    early.eq(orders),
                    left.eq(fields.group_dim),
                    groups.eq(fields.groups),
                    padding.eq(0),
                ]
                m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += [
                    self.i.ready.eq(queue.room & ~padding),
                    feed.eq(queue.room & (self.i.valid | padding)),
                    zero.eq(padding),
                ]
                with m.If(feed):
                    with m.If(left != 1):
                        m.d.sync += left.eq(left - 1)
                    with m.Elif((job.fields.pad != 0) & ~padding):
                        m.d.sync += [left.eq(job.fields.pad), padding.eq(1)]
                    with m.Elif(groups != 1):
                        m.d.sync += [
                            left.eq(job.fields.group_dim),
                            groups.eq(groups - 1),
                            padding.eq(0),
                        ]
                    with m.Elif(on != 0):
                        m.d.sync += left.eq(on)
                        m.next = "FLUSH"
                    with m.Else():
                        m.next = "WAIT"
            with m.State("FLUSH"):
                m.d.comb += [feed.eq(queue.room), zero.eq(1)]
                with m.If(feed):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "WAIT"
        job.end(fsm.ongoing("WAIT") & ~queue.busy)
        return m
