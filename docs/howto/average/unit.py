"""Average: the sum of all values of a channel so far."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl import passes
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import round_saturate
from lightmamba.hardware.rtl.slices import wide
from lightmamba.numerics.formats import INT24

__all__ = ["Average"]

PER_WORD = 4  # values of 16 bits
SUM = signed(40)  # of up to 2^17 values, and those of the pass
DATAPATH = 10  # cycles from a row to its result in the queue


class Average(wiring.Component):
    """Add the values of earlier tokens, from memory, to those of the pass, and hand these on.

    First the words of all earlier tokens, one a cycle, all slots at the same time; then a channel
    of all vectors a cycle, ``latency`` cycles from a row to its output; then the words of the pass.

    Parameters
    ----------
    config : ArchConfig
        T = ``tokens``.

    Members
    -------
    command : In(stream of ``average``)
        ``count`` channels, a multiple of four; the right shift of a sum.
    i : In(stream of s16 per vector)
        Rows of v.
    i_row0, i_row1, ... : In(stream of u64) per slot
        Values of all earlier tokens, token by token.
    o_row0, o_row1, ... : Out(stream of u64) per slot
        Values of the slot's tokens of the pass.
    o : Out(stream of s24 per vector)
        Sums, shifted.
    lost : Out(1) per vector
        A sum did not fit.
    values_before : In(u32) per slot
        Earlier tokens, whose values come on ``i_row``.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) per slot and vector
        Contents of the pass (:mod:`lightmamba.hardware.rtl.passes`).
    """

    latency, interval = DATAPATH + 2, 1

    command: Any
    i: Any
    o: Any
    lost: Any
    busy: Any
    values_before: Any

    def __init__(self, config: ArchConfig) -> None:
        self.tokens = count = config.tokens
        self.depth = config.out_channels // PER_WORD
        members: dict[str, Any] = {
            "command": i_stream(command("average", config)),
            "i": i_stream(wide(signed(16), count)),
            **{f"i_row{n}": i_stream(WORD) for n in range(count)},
            **{f"o_row{n}": o_stream(WORD) for n in range(count)},
            "o": o_stream(wide(signed(24), count)),
            "lost": Out(1).array(count),
            "values_before": In(32).array(count),
            "busy": Out(1),
        }
        super().__init__(members | passes.members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        left, channel = Countdown(15), Signal(15)
        vectors = passes.vectors_of(self)
        before = [self._before(m, job, n, channel) for n in range(self.tokens)]
        results = Queue(m, self.o, latency=DATAPATH)
        written = self._written(m, job, vectors, channel, left)

        issue = Signal()
        may = job.active & left.some & results.room & ~Cat(some for some, _ in before).any()
        m.d.comb += [issue.eq(may & self.i.valid), self.i.ready.eq(may)]
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.count), channel.eq(0)]
        with m.Elif(issue):
            m.d.sync += [*left.step(), channel.eq(channel + 1)]
        job.end(~left.some & written & ~results.busy)

        pipe = Pipe(m)
        shift = pipe.input(job.fields.shift)
        total: Value = before[0][1]
        found = []
        for n, vector in enumerate(vectors):
            if n:  # the vectors of a slot are adjacent
                first = data.ArrayLayout(SUM, self.tokens)(Cat(each for _, each in before))
                total = Mux(vector.place == 0, first[vector.slot], total)
            total = (total + self.i.payload[n])[: SUM.width].as_signed()
            found.append(round_saturate(
                pipe, pipe.step(lambda v: v, pipe.input(total), shape=SUM), shift, INT24, high=31
            ))  # fmt: skip
        stage = found[0][0].stage
        for n, (_, lost) in enumerate(found):
            m.d.comb += self.lost[n].eq(pipe.valid(issue, stage) & lost.value)
        last = [pipe.delay(value, DATAPATH).value for value, _ in found]
        results.connect(issue, pipe.valid(issue, DATAPATH), Cat(last))
        return m

    def _before(self, m: Module, job: Job, n: int, channel: Signal) -> tuple[Value, Value]:
        """Sums over the earlier tokens of a slot: whether some are missing; that of a channel."""
        i, count = getattr(self, f"i_row{n}"), self.values_before[n]
        sums = memory.Memory(shape=unsigned(PER_WORD * SUM.width), depth=self.depth, init=[])
        m.submodules[f"sums{n}"] = sums
        write, read = sums.write_port(), sums.read_port(domain="comb")
        left, first, at = Signal(32), Signal(), Signal(range(self.depth))
        some, none = left.any(), Signal()
        layout = data.ArrayLayout(SUM, PER_WORD)
        here = layout(read.data)
        values = data.ArrayLayout(signed(16), PER_WORD)(i.payload)
        m.d.comb += [
            i.ready.eq(job.active & some),
            read.addr.eq(Mux(some, at, channel // PER_WORD)),
            write.addr.eq(at),
            write.en.eq(i.valid & i.ready),
            write.data.eq(
                Cat((Mux(first, 0, here[k]) + values[k])[: SUM.width] for k in range(PER_WORD))
            ),
        ]
        with m.If(job.start):
            m.d.sync += [left.eq(count), none.eq(count == 0), first.eq(1), at.eq(0)]
        with m.Elif(write.en):
            ends = (at + 1) * PER_WORD == job.fields.count
            m.d.sync += [left.eq(left - ends), at.eq(Mux(ends, 0, at + 1)), first.eq(first & ~ends)]
        return some, Mux(none, 0, here[channel % PER_WORD])

    def _written(
        self, m: Module, job: Job, vectors: list[Any], channel: Signal, left: Countdown
    ) -> Signal:
        """Keep the rows of the pass and write them, vector by vector; whether that is done."""
        done, at, vector = Signal(), Signal(range(self.depth)), Signal(range(self.tokens + 1))
        outputs = [getattr(self, f"o_row{n}") for n in range(self.tokens)]
        with m.If(job.start):
            m.d.sync += [done.eq(0), at.eq(0), vector.eq(0)]
        for n, each in enumerate(vectors):
            kept = memory.Memory(shape=unsigned(64), depth=self.depth, init=[])
            m.submodules[f"rows{n}"] = kept
            write, read = kept.write_port(granularity=16), kept.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(channel // PER_WORD),
                write.data.eq(Cat(self.i.payload[n] for _ in range(PER_WORD))),
                write.en.eq(Mux(self.i.valid & self.i.ready, 1 << channel % PER_WORD, 0)),
                read.addr.eq(at),
            ]
            with m.If(job.active & ~left.some & ~done & (vector == n)):
                for slot, o in enumerate(outputs):
                    with m.If(each.used & (each.slot == slot)):
                        m.d.comb += [o.valid.eq(1), o.payload.eq(read.data)]
                        with m.If(o.ready):
                            ends = (at + 1) * PER_WORD == job.fields.count
                            m.d.sync += [at.eq(Mux(ends, 0, at + 1)), vector.eq(vector + ends)]
                            if n + 1 == self.tokens:
                                m.d.sync += done.eq(ends)
                with m.If(~each.used):
                    m.d.sync += done.eq(1)
        return done
