"""Block quantizer: the arithmetic is :class:`lightmamba.numerics.blocks.BlockQuant`."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from lightmamba.hardware.rtl.held import BlockQueue
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import CODED, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed, select
from lightmamba.hardware.rtl.shifts import (
    bit_length,
    magnitude,
    shift_cut,
    shift_latency,
    split_product,
    tree_steps,
)
from lightmamba.numerics.blocks import MAX_CODE, RECIPROCALS, BlockQuant

__all__ = ["Quantizer"]

MAX_SHIFT = 15 + 31  # exponent of a scale above its base, and base


class Quantizer(wiring.Component):
    """Quantize blocks of ``op.block`` values, each with a scale found from its largest magnitude.

    A block is stored while its absmax is found, and the last one is emitted at the same time:
    ``width`` values per cycle, sustained; ``latency`` cycles from the transfer of a block's last
    values to its first output. After ``count`` values come ``pad`` zeros; their sum is a whole
    number of blocks. In pairs, an odd ``count`` ends with one whose second value is 0: the first
    of the zeros.

    Parameters
    ----------
    op, head_op : BlockQuant
        Formats without and with ``head``, of the same block.
    width : int
        Values that come and leave in a cycle, 1 or 2.

    Members
    -------
    command : In(stream of ``quant_in``, the same as ``quant_out``)
    i : In(stream of width x s32)
        Values of the vector.
    o : Out(stream of width x CODED)
        Integer and code of the block's scale, for values and zeros.
    lost_scale : Out
        A block wanted a scale outside the 16 exponents.
    clipped : Out
        Values that saturated, as intended.
    busy : Out
        A command is not finished.
    """

    _divide = 3 + shift_latency(0, MAX_SHIFT + 1) + 1  # cycles from issue to result
    interval = 1

    def __init__(self, op: BlockQuant, head_op: BlockQuant, width: int = 1) -> None:
        self.op, self.head_op, self.width = op, head_op, width
        self._find = 10 + tree_steps(width, 1)  # cycles from a block's last values to its code
        self.latency = self._find + BlockQueue.latency + self._divide + 2
        super().__init__(
            {
                "command": i_stream(command("quant_in")),
                "i": i_stream(data.ArrayLayout(signed(32), width)),
                "o": o_stream(data.ArrayLayout(CODED, width)),
                "lost_scale": Out(1),
                "clipped": Out(range(width + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Values still to be stored, and beats of zeros; beats of both still to be issued.
        coming, zeros, going = Countdown(15, self.width), Signal(7), Signal(16)
        beats, halves = self.op.block // self.width, exact_log2(self.width)
        place = Signal(range(beats))
        job, fields = Job(m, self.command, self.busy), self.command.payload
        self._head, self._base = job.fields.head, job.fields.base
        with m.If(job.start):
            m.d.sync += [
                *coming.load(fields.count),
                zeros.eq(fields.pad >> halves),
                going.eq((fields.count + fields.pad) >> halves),
                place.eq(0),
            ]

        held = BlockQueue(m, bits=32 * self.width, number_bits=6, depth=2 * beats)
        values, stored, last = Signal(), Signal(), Signal()
        value = Signal(self.i.payload.shape())
        m.d.comb += [
            values.eq(coming.some),
            self.i.ready.eq(values & held.room),
            stored.eq(Mux(values, self.i.valid, zeros != 0) & held.room),
            value.as_value().eq(Mux(values, self.i.payload.as_value(), 0)),
            last.eq(place == beats - 1),
        ]
        with m.If(stored):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
            with m.If(values):
                m.d.sync += coming.step()
            with m.Else():
                m.d.sync += zeros.eq(zeros - 1)
        held.put(stored, value.as_value(), last)
        self._codes(m, held, stored, last, value)

        queue = Queue(m, self.o, latency=self._divide)
        issue = Signal()
        m.d.comb += issue.eq(held.ready & queue.room)
        held.take(issue)
        with m.If(issue):
            m.d.sync += going.eq(going - 1)
        self._quantize(m, held, queue, issue)
        job.end((going == 0) & ~queue.busy)
        return m

    def _by_format(self, plain: int, head: int) -> Value:
        """Constant of the format that the job uses."""
        bits = signed(max(plain.bit_length(), head.bit_length()) + 1)
        return self._of(Const(plain, bits), Const(head, bits))

    def _of(self, plain: Value, head: Value) -> Value:
        """Which of two the format of the job asks for."""
        return Mux(self._head, head, plain)

    def _codes(self, m: Module, held: BlockQueue, stored: Value, last: Value, value: Any) -> None:
        """Code of each block: ``BlockQuant.index`` of the absmax, above the base, saturated."""
        pipe = Pipe(m)
        offset, thresholds = self.op.thresholds
        head_offset, head_thresholds = self.head_op.thresholds

        sizes = [
            pipe.step(magnitude, pipe.step(lambda v: v, pipe.input(each), shape=signed(32)))
            for each in value
        ]
        size = sizes[0]
        if self.width > 1:
            size = pipe.step(lambda a, b: Mux(a > b, a, b), *sizes)
        ends = pipe.valid(stored & last, size.stage)
        before, absmax = Signal(32), Signal(32)
        m.d.comb += absmax.eq(Mux(size.value > before, size.value, before))
        with m.If(pipe.valid(stored, size.stage)):
            m.d.sync += before.eq(Mux(ends, 0, absmax))
        found = pipe.step(lambda v: v, pipe.input(absmax, size.stage))

        k = pipe.step(bit_length, found)
        n = _normalize(pipe, found, k)
        limits = list(map(self._by_format, thresholds, head_thresholds))
        reached = [pipe.step(lambda v, t=t: v >= t, n) for t in limits]
        first = pipe.step(lambda k, a, b, c, d: (k << 2) + ((a + b) + (c + d)), k, *reached)
        start = self._by_format(offset, head_offset)
        index = pipe.step(lambda v: v + (start - (self._base << 2)), first, shape=signed(10))
        # The index of zero is the offset, which is negative: code 0, but no loss.
        nonzero = pipe.comb(lambda v: v != 0, k)
        code = pipe.step(lambda v: Mux(v < 0, 0, Mux(v > MAX_CODE, MAX_CODE, v)), index, shape=6)
        lost = pipe.step(lambda v, on: on & ((v < 0) | (v > MAX_CODE)), index, nonzero)
        done = pipe.valid(ends, self._find - size.stage)
        held.find(done, code.value)
        m.d.comb += self.lost_scale.eq(done & lost.value)

    def _quantize(self, m: Module, held: BlockQueue, queue: Queue, issue: Value) -> None:
        """Divide what leaves the queue by its scale, round and saturate."""
        pipe = Pipe(m)
        code = pipe.step(lambda v: v, pipe.input(held.number))
        reciprocals: list[Value] = [Const(r, 17) for r in RECIPROCALS]
        factor = pipe.step(lambda v: select(m, v[:2], reciprocals), pipe.input(held.number))
        shift = pipe.step(lambda v: (v[2:] + self._base) + 1, code)
        found = [
            self._divided(pipe, held.element.word_select(n, 32), factor, shift)
            for n in range(self.width)
        ]
        stage = found[0][0].stage
        result, arrives = Signal(self.o.payload.shape()), pipe.valid(issue, stage)
        for each, (q, _) in zip(result, found, strict=True):
            m.d.comb += [each.q.eq(q.value), each.code.eq(pipe.delay(code, stage).value)]
        m.d.comb += self.clipped.eq(sum(arrives & clips.value for _, clips in found))
        queue.connect(issue, arrives, result)

    def _divided(
        self, pipe: Pipe, element: Value, factor: Timed, shift: Timed
    ) -> tuple[Timed, Timed]:
        """A value times the reciprocal of its scale, and whether it saturated."""
        value = pipe.step(lambda v: v.as_signed(), pipe.input(element))
        product = split_product(pipe, value, factor)
        # Of the 16 fractional bits of a reciprocal, all but the first below the point are dropped.
        product = pipe.comb(lambda v: v[15:].as_signed(), product)
        # Rounding adds 1 to what is here and drops a bit; so its bounds are these.
        twice = shift_cut(pipe, product, shift, 11, high=MAX_SHIFT + 1)
        high = self._by_format(self.op.qmax, self.head_op.qmax)
        low = self._by_format(self.op.qmin, self.head_op.qmin)
        op, head = self.op, self.head_op
        above = pipe.comb(lambda v: self._of(v > 2 * op.qmax, v > 2 * head.qmax), twice)
        below = pipe.comb(lambda v: self._of(v < 2 * op.qmin - 1, v < 2 * head.qmin - 1), twice)
        q = pipe.step(
            lambda v, a, b: Mux(a, high, Mux(b, low, (v + 1) >> 1)), twice, above, below,
            shape=signed(8),
        )  # fmt: skip
        return q, pipe.step(lambda a, b: a | b, above, below)


def _normalize(pipe: Pipe, value: Timed, length: Timed) -> Timed:
    """``value << (32 - length)``: the highest bit set comes first. Two cycles."""
    left = pipe.comb(lambda k: (32 - k)[:5], length)
    for places in ((16, 8, 4), (2, 1)):
        value = pipe.step(lambda v, s, places=places: _shift(v, s, places), value, left, shape=32)
    return value


def _shift(value: Value, amount: Value, places: tuple[int, ...]) -> Value:
    for place in places:
        value = Mux(amount[place.bit_length() - 1], value << place, value)[:32]
    return value
