"""Embedder: a row of the embedding table, in the unit of the residual stream."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import round_latency, round_saturate
from lightmamba.numerics.formats import INT32, GroupScale

__all__ = ["Embedder"]

SCALE = GroupScale()
SHIFTS = (-40, 62)  # right shift to the residual stream, as qmodel.check allows it
WORDS = 16  # of int8 in a group, after the word of its scale
BYTES = 8  # in a word
LEFT = SHIFTS[0] + 1 - (1 << SCALE.exponent_bits)  # reach of the shift with a code's exponent
DATAPATH = 1 + round_latency(LEFT, SHIFTS[1])  # cycles from a byte to its channel, no queue


class Embedder(wiring.Component):
    """Scale the int8 of one row of the table and emit its channels.

    ``latency`` cycles from the transfer of a word to ``o.valid`` of its first channel; one channel
    per cycle, since the word of a scale is taken while the last group is emitted. What follows
    the last channel of a row is swallowed. A job is over when its last channel has been taken.

    Source: ``engine.Engine.embed``. The exponent of a group's scale is taken off the shift, so
    that (32 + m)·q is all that is shifted.

    Parameters
    ----------
    scale : GroupScale
        What the code of a group means.

    Members
    -------
    command : In(stream of embed)
        ``count`` channels of ``groups`` groups, right ``shift`` to the residual's unit.
    i_word : In(stream of unsigned(64))
        Per group a word whose low byte is the code, then 16 words of 8 int8.
    o : Out(stream of signed(32))
        Channels.
    busy : Out(1)
        A command is being worked on.
    lost : Out(1)
        A channel did not fit 32 bits.
    """

    latency, interval = 1 + DATAPATH + 2, 1

    def __init__(self, scale: GroupScale = SCALE) -> None:
        self.scale = scale
        super().__init__(
            {
                "command": i_stream(command("embed")),
                "i_word": i_stream(WORD),
                "o": o_stream(signed(32)),
                "busy": Out(1),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        queue = Queue(m, self.o, latency=DATAPATH)
        word = Signal(64, reset_less=True)
        code = Signal(8, reset_less=True)
        issue = self._unpack(m, job, queue, word, code)
        self._multiply(m, job, queue, word, code, issue)
        return m

    def _unpack(self, m: Module, job: Job, queue: Queue, word: Signal, code: Signal) -> Signal:
        """Issue byte by byte, the lowest of ``word``, with the ``code`` of its group."""
        fields = self.command.payload
        groups, channels = Signal.like(fields.groups), Signal.like(fields.count)  # that are to come
        place = Signal(range(WORDS + 1))  # of the next word in its group; 0 is its scale
        left = Signal(range(BYTES + 1))  # bytes in the word
        coming = Signal(8, reset_less=True)  # code of the words that follow
        issue, take, finished = Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq((left != 0) & queue.room),
            self.i_word.ready.eq(
                (groups != 0) & ((place == 0) | (left == 0) | ((left == 1) & queue.room))
            ),
            take.eq(self.i_word.valid & self.i_word.ready),
            finished.eq((channels == 0) | (issue & (channels == 1))),
        ]
        with m.If(issue):
            m.d.sync += [word.eq(word[8:]), left.eq(left - 1), channels.eq(channels - 1)]
        with m.If(take):
            with m.If(place == 0):
                m.d.sync += [coming.eq(self.i_word.payload[:8]), place.eq(1)]
            with m.Else():
                m.d.sync += [
                    word.eq(self.i_word.payload), code.eq(coming), left.eq(BYTES),
                    place.eq(place + 1),
                ]  # fmt: skip
                with m.If(place == WORDS):
                    m.d.sync += [place.eq(0), groups.eq(groups - 1)]
        with m.If(finished):
            m.d.sync += left.eq(0)
        with m.If(job.start):
            m.d.sync += [groups.eq(fields.groups), channels.eq(fields.count)]
        job.end((groups == 0) & (left == 0) & ~queue.busy)
        return issue

    def _multiply(
        self, m: Module, job: Job, queue: Queue, word: Signal, code: Signal, issue: Signal
    ) -> None:
        """Scale and shift a byte, saturate, count."""
        pipe, bits = Pipe(m), self.scale.mantissa_bits
        q, c = pipe.input(word[:8].as_signed()), pipe.input(code)
        product = pipe.step(lambda q, c: q * Cat(c[:bits], Const(1, 1)), q, c)
        shift = pipe.step(lambda c: job.fields.shift - c[bits:], c)
        channel, lost = round_saturate(pipe, product, shift, INT32, low=LEFT, high=SHIFTS[1])
        arrives = pipe.valid(issue, DATAPATH)
        m.d.comb += self.lost.eq(lost.value & arrives)
        queue.connect(issue, arrives, channel.value)
