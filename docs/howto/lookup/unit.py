"""Lookup: the row of a table that the highest score chooses, times that score."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl import passes
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import round_latency, round_saturate
from lightmamba.hardware.rtl.slices import wide
from lightmamba.numerics.formats import INT24

__all__ = ["Lookup"]

PER_WORD = 4  # values of 16 bits
COUNT = 15  # bits of a number of entries or channels
DATAPATH = 2 + round_latency(0, 15)  # cycles from a channel of the row to its result


class Lookup(wiring.Component):
    """Find the highest score of each vector, fetch the row that it chooses, and scale that.

    First the scores, one a cycle, of all vectors at the same time; then an index of each vector
    that holds a token, and the words of its row, one a cycle, in the order of the vectors; then a
    channel of all vectors a cycle, ``latency`` cycles from where it is read to the output. Of equal
    scores the first one wins.

    Parameters
    ----------
    config : ArchConfig
        T = ``tokens``.

    Members
    -------
    command : In(stream of ``lookup``)
        ``entries``, ``count`` channels, the right shift of a product, ``table_first``.
    i : In(stream of s16 per vector)
        Scores.
    o_index : Out(stream of u24)
        Rows of the table that are wanted.
    i_word : In(stream of u64)
        Words of these rows.
    o : Out(stream of s24 per vector)
        Score times value, shifted.
    lost : Out(1) per vector
        A product did not fit.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) per slot and vector
        Contents of the pass (:mod:`lightmamba.hardware.rtl.passes`).
    """

    latency, interval = DATAPATH + 2, 1

    command: Any
    i: Any
    i_word: Any
    o: Any
    o_index: Any
    lost: Any
    busy: Any

    def __init__(self, config: ArchConfig) -> None:
        self.tokens = config.tokens
        self.depth = config.out_channels // PER_WORD
        members: dict[str, Any] = {
            "command": i_stream(command("lookup", config)),
            "i": i_stream(wide(signed(16), self.tokens)),
            "o_index": o_stream(unsigned(24)),
            "i_word": i_stream(WORD),
            "o": o_stream(wide(signed(24), self.tokens)),
            "lost": Out(1).array(self.tokens),
            "busy": Out(1),
        }
        super().__init__(members | passes.members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        used = Cat(vector.used for vector in passes.vectors_of(self))
        scores, index = self._chosen(m, job)
        rows, filled = self._rows(m, job, used, index)

        results, left, channel = Queue(m, self.o, latency=DATAPATH), Countdown(COUNT), Signal(COUNT)
        issue = Signal()
        m.d.comb += issue.eq(job.active & filled & left.some & results.room)
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.count), channel.eq(0)]
        with m.Elif(issue):
            m.d.sync += [*left.step(), channel.eq(channel + 1)]
        job.end(~left.some & ~results.busy)

        pipe = Pipe(m)
        shift, found = pipe.input(job.fields.shift), []
        for n, (score, row) in enumerate(zip(scores, rows, strict=True)):
            m.d.comb += row.addr.eq(channel // PER_WORD)
            value = data.ArrayLayout(signed(16), PER_WORD)(row.data)[channel % PER_WORD]
            held = pipe.step(lambda v: v, pipe.input(value), shape=signed(16))
            product = pipe.step(lambda v, score=score: v * score, held)
            wide_, lost = round_saturate(pipe, product, shift, INT24, high=15)
            m.d.comb += self.lost[n].eq(pipe.valid(issue, lost.stage) & lost.value)
            found.append(pipe.delay(wide_, DATAPATH).value)
        results.connect(issue, pipe.valid(issue, DATAPATH), Cat(found))
        return m

    def _chosen(self, m: Module, job: Job) -> tuple[list[Signal], list[Value]]:
        """Highest score of each vector, and its row of the table; 0 entries are left then."""
        self._left = left = Countdown(COUNT)
        place, first = Signal(COUNT), Signal()
        take = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(job.active & left.some)
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.entries), place.eq(0), first.eq(1)]
        with m.Elif(take):
            m.d.sync += [*left.step(), place.eq(place + 1), first.eq(0)]
        scores, index = [], []
        for n in range(self.tokens):
            best, at = Signal(signed(16), name=f"best{n}"), Signal(COUNT, name=f"at{n}")
            with m.If(take & (first | (self.i.payload[n] > best))):
                m.d.sync += [best.eq(self.i.payload[n]), at.eq(place)]
            scores.append(best)
            index.append((job.fields.table_first + at)[:24])
        return scores, index

    def _rows(
        self, m: Module, job: Job, used: Value, index: list[Value]
    ) -> tuple[list[Any], Value]:
        """Read ports of the rows of all vectors, and whether all of them are there."""
        asked, filling = (Signal(range(self.tokens + 1), name=f"{n}") for n in ("asked", "filling"))
        at, ready, ports = Signal(range(self.depth)), job.active & ~self._left.some, []
        with m.If(job.start):
            m.d.sync += [asked.eq(0), filling.eq(0), at.eq(0)]
        for n in range(self.tokens):
            kept = memory.Memory(shape=unsigned(64), depth=self.depth, init=[])
            m.submodules[f"row{n}"] = kept
            write = kept.write_port()
            ports.append(kept.read_port(domain="comb"))
            m.d.comb += [write.addr.eq(at), write.data.eq(self.i_word.payload)]
            with m.If(ready & (asked == n)):
                m.d.comb += [self.o_index.valid.eq(used[n]), self.o_index.payload.eq(index[n])]
                with m.If(self.o_index.ready | ~used[n]):
                    m.d.sync += asked.eq(n + 1)
            with m.If(ready & (filling == n) & (asked != n)):
                word = self.i_word.valid & used[n]
                m.d.comb += [self.i_word.ready.eq(used[n]), write.en.eq(word)]
                ends = (at + 1) * PER_WORD == job.fields.count
                with m.If(word):
                    m.d.sync += at.eq(Mux(ends, 0, at + 1))
                with m.If((word & ends) | ~used[n]):
                    m.d.sync += filling.eq(n + 1)
        return ports, filling == self.tokens
