"""Head: logits into words for memory, and their arg-max."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.latency import DRAIN
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import LOGITS, WORD, command, i_stream, o_stream
from lightmamba.hardware.rtl.pairs import Pairs
from lightmamba.hardware.rtl.pipe import Pipe, Queue

__all__ = ["Head"]


class Head(wiring.Component):
    """Pack two logits per word and find the lowest id of the largest one.

    ``latency`` cycles from the transfer of a word's last logit to ``o_word.valid``; one logit or
    two per cycle. Where the last transfer of a job gives a word its second half and another word
    its first, that other one follows a cycle later. ``done`` pulses ``done_latency`` cycles after
    the transfer of a job's last logit. A job is over when its last word has been taken.

    Members
    -------
    command : In(stream of head)
        ``rows`` logits, at least one; ids from ``valid`` on never win.
    i : In(stream of LOGITS)
        Logits, by id.
    o_word : Out(stream of unsigned(64))
        Two logits, the first in the low half; an odd last one alone, with zeros above it.
    next : Out(20)
        Arg-max of the last job; changes with ``done`` only.
    done : Out(1)
        ``next`` is that of the job that now ends.
    busy : Out(1)
        A command is being worked on.
    """

    latency, interval = 3, 1
    done_latency = DRAIN

    def __init__(self) -> None:
        super().__init__(
            {
                "command": i_stream(command("head")),
                "i": i_stream(LOGITS),
                "o_word": o_stream(WORD),
                "next": Out(20),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        fields, given = self.command.payload, self.i.payload

        index, queue = Signal.like(fields.rows), Queue(m, self.o_word, latency=1)
        pairs = Pairs(m, len(fields.rows))
        pairs.connect(self.i.valid, queue.room, given.first, given.second, given.both)
        words = [pipe.input(item[:32]) for item in pairs.items]
        packed = pipe.step(lambda *word: Cat(word), *words)
        queue.connect(pairs.issue, pipe.valid(pairs.issue, packed.stage), packed.value)
        m.d.comb += self.i.ready.eq(pairs.some & queue.room)
        with m.If(job.start):
            m.d.sync += [*pairs.load(fields.rows), index.eq(0)]
        with m.Elif(pairs.take):
            m.d.sync += index.eq(index + pairs.count)
        # A job ends later than its search: the last word takes longer to leave.
        job.end(~pairs.some & ~pairs.alone & ~queue.busy)

        best = self._search(m, pipe, job, pairs.take, index)
        final = pipe.valid(pairs.last, self.done_latency - 1)
        m.d.sync += self.done.eq(final)
        with m.If(final):
            m.d.sync += self.next.eq(best)
        return m

    def _search(self, m: Module, pipe: Pipe, job: Job, take: Signal, index: Signal) -> Signal:
        """Id of the first of the largest, three cycles after the transfer."""
        given, end = self.i.payload, Signal.like(index)  # of the ids that may be second
        with m.If(job.start):
            m.d.sync += end.eq(self.command.payload.valid - 1)
        first, second = pipe.input(given.first), pipe.input(given.second)
        name, beside = pipe.input(index), pipe.step(lambda n: n + 1, pipe.input(index))
        counts = pipe.valid(take & (index <= end), 2)
        both = pipe.step(lambda two, n: two & (n < end), pipe.input(given.both), name)
        wins = pipe.comb(lambda b, x, y: b & (y > x), both, first, second)
        value = pipe.step(lambda w, x, y: Mux(w, y, x), wins, first, second).value
        name = pipe.step(lambda w, x, y: Mux(w, y, x), wins, name, beside)

        none = Signal()  # of this job's logits has been seen
        best, best_name = Signal(signed(32), reset_less=True), Signal.like(index, reset_less=True)
        with m.If(job.start):
            m.d.sync += none.eq(1)
        with m.Elif(counts & (none | (value > best))):
            m.d.sync += [none.eq(0), best.eq(value), best_name.eq(name.value)]
        return best_name
