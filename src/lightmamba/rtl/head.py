"""Head: logits into words for memory, and their arg-max."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.rtl.job import Job
from lightmamba.rtl.layouts import WORD, command, i_stream, o_stream
from lightmamba.rtl.pipe import Pipe, Queue

__all__ = ["Head"]


class Head(wiring.Component):
    """Pack two logits per word and find the lowest id of the largest one.

    ``latency`` cycles from the transfer of a word's last logit to ``o_word.valid``; one logit per
    cycle. ``done`` pulses ``done_latency`` cycles after the transfer of a job's last logit. A job
    is over when its last word has been taken.

    Members
    -------
    command : In(stream of head)
        ``rows`` logits, at least one; ids from ``valid`` on never win.
    i : In(stream of signed(32))
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
    done_latency = 3

    def __init__(self) -> None:
        super().__init__(
            {
                "command": i_stream(command("head")),
                "i": i_stream(signed(32)),
                "o_word": o_stream(WORD),
                "next": Out(20),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        queue = Queue(m, self.o_word, latency=1)

        told = self.command.payload
        left, index = Signal.like(told.rows), Signal.like(told.rows)
        take, last = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq((left != 0) & queue.room),
            take.eq(self.i.valid & self.i.ready),
            last.eq(take & (left == 1)),
        ]
        with m.If(job.start):
            m.d.sync += [left.eq(told.rows), index.eq(0)]
        with m.Elif(take):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        # A job ends later than its search: the last word takes longer to leave.
        job.end((left == 0) & ~queue.busy)

        first, second = Signal(32, reset_less=True), index[0]
        with m.If(take):
            m.d.sync += first.eq(self.i.payload)
        word = Mux(second, Cat(first, self.i.payload), self.i.payload[:32])
        issue = take & (second | (left == 1))
        packed = pipe.step(lambda w: w, pipe.input(word))
        queue.connect(issue, pipe.valid(issue, packed.stage), packed.value)
        best = self._search(m, pipe, job, take, index)
        final = pipe.valid(last, self.done_latency - 1)
        m.d.sync += self.done.eq(final)
        with m.If(final):
            m.d.sync += self.next.eq(best)
        return m

    def _search(self, m: Module, pipe: Pipe, job: Job, take: Signal, index: Signal) -> Signal:
        """Id of the first of the largest, two cycles after the transfer."""
        value = pipe.step(lambda v: v, pipe.input(self.i.payload)).value
        name = pipe.step(lambda v: v, pipe.input(index)).value
        counts = pipe.valid(take & (index < job.fields.valid), 1)
        none = Signal()  # of this job's logits has been seen
        best, best_name = Signal(signed(32), reset_less=True), Signal.like(index, reset_less=True)
        with m.If(job.start):
            m.d.sync += none.eq(1)
        with m.Elif(counts & (none | (value > best))):
            m.d.sync += [none.eq(0), best.eq(value), best_name.eq(name)]
        return best_name
