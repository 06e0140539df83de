"""Blocks of x, B and C: the arithmetic is :class:`lightmamba.numerics.blocks.Pow2Block`."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.machine.kinds import machine
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.rtl.held import BlockQueue
from lightmamba.rtl.job import Countdown, Job
from lightmamba.rtl.layouts import command, i_stream, o_stream, payload
from lightmamba.rtl.pipe import Pipe, Queue
from lightmamba.rtl.shifts import bit_length, magnitude, round_saturate

__all__ = ["Blocks"]

BLOCK = Pow2Block()


class Blocks(wiring.Component):
    """Give each block of channels a power-of-two exponent and quantize it to int8.

    A block ends after ``op.block`` channels, and at the end of a head (kind X) or a group (B, C);
    kinds change only there. A block is stored while its exponent is found, and the last one is
    emitted at the same time: one channel per cycle, sustained; ``latency`` cycles from the transfer
    of a block's last channel to its first output. Heads and groups wait in one queue, so an ``o_x``
    that is not taken holds up ``o_bc`` behind it, and the other way.

    The largest magnitude is not needed, only its bit length, and that is the bit length of the OR
    of all magnitudes.

    Parameters
    ----------
    op : Pow2Block
        To 8 bits; its block is a power of two.
    config : ArchConfig, optional
        Kinds of rows.

    Members
    -------
    command : In(stream of ``blocks``)
        ``count`` channels, of at least 1; ``headdim`` and ``d_state`` end the blocks.
    i : In(stream of ROW)
        Channels of kind X, B and C, in runs of whole heads or groups.
    o_x, o_bc : Out(stream of BLOCKED)
        The same channels, those of kind X and the others.
    busy : Out
        A command is not finished.
    """

    latency, interval = 12, 1
    _find, _divide = 3, 5  # cycles from a block's last row to its exponent; from issue to result

    def __init__(self, op: Pow2Block = BLOCK, config: ArchConfig | None = None) -> None:
        self.config, self.op = config or ArchConfig(), op
        self._x_kind = machine(self.config.kinds).kinds["x"]
        self._row = payload("ROW", self.config)
        blocked = self._blocked = payload("BLOCKED", self.config)
        self._max_shift = 16 - (op.bits - 1)
        super().__init__(
            {
                "command": i_stream(command("blocks", self.config)),
                "i": i_stream(self._row),
                "o_x": o_stream(blocked),
                "o_bc": o_stream(blocked),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        coming, going = Countdown(16), Signal(16)  # channels still to come, and to be issued
        head_end, group_end = Signal(8), Signal(8)  # last position in a head, in a group
        position = Signal(8)  # in the head or group
        job, fields = Job(m, self.command, self.busy), self.command.payload
        with m.If(job.start):
            m.d.sync += [
                *coming.load(fields.count),
                going.eq(fields.count),
                head_end.eq(fields.headdim - 1),
                group_end.eq(fields.d_state - 1),
                position.eq(0),
            ]

        held = BlockQueue(
            m,
            bits=self._row.size,
            number_bits=self._max_shift.bit_length(),
            depth=2 * self.op.block,
        )
        taken, whole, last = Signal(), Signal(), Signal()
        row = self.i.payload
        m.d.comb += [
            self.i.ready.eq(coming.some & held.room),
            taken.eq(self.i.valid & self.i.ready),
            whole.eq(position == Mux(row.kind == self._x_kind, head_end, group_end)),
            last.eq(whole | position[: (self.op.block - 1).bit_length()].all()),
        ]
        with m.If(taken):
            m.d.sync += [*coming.step(), position.eq(Mux(whole, 0, position + 1))]
        held.put(taken, row.as_value(), last)
        self._exponents(m, held, taken, last)

        issue = self._quantize(m, held)
        with m.If(issue):
            m.d.sync += going.eq(going - 1)
        job.end((going == 0) & ~self._x.busy & ~self._bc.busy)
        return m

    def _exponents(self, m: Module, held: BlockQueue, taken: Value, last: Value) -> None:
        """Exponent of each block, from the OR of the magnitudes so far."""
        pipe = Pipe(m)
        size = pipe.step(magnitude, pipe.input(self.i.payload.value))
        ends = pipe.valid(taken & last, 1)
        before, bits = Signal(16), Signal(16)
        m.d.comb += bits.eq(before | size.value)
        with m.If(pipe.valid(taken, 1)):
            m.d.sync += before.eq(Mux(ends, 0, bits))
        found = pipe.step(lambda v: v, pipe.input(bits, 1))
        above = self.op.bits - 1  # bits that need no shift
        exponent = pipe.step(lambda v: bit_length(v[above:]), found)
        held.find(pipe.valid(ends, self._find - 1), exponent.value)

    def _quantize(self, m: Module, held: BlockQueue) -> Signal:
        """Shift, round and saturate what leaves the queue; return when an element does."""
        self._x = Queue(m, self.o_x, latency=self._divide)
        self._bc = Queue(m, self.o_bc, latency=self._divide)
        row = data.View(self._row, held.element)
        is_x, issue = Signal(), Signal()
        m.d.comb += [
            is_x.eq(row.kind == self._x_kind),
            issue.eq(held.ready & Mux(is_x, self._x.room, self._bc.room)),
        ]
        held.take(issue)

        pipe = Pipe(m)
        value = pipe.step(lambda v: v, pipe.input(row.value), shape=signed(16))
        exponent = pipe.step(lambda v: v, pipe.input(held.number))
        q, _ = round_saturate(pipe, value, exponent, self.op.form, high=self._max_shift)
        kind, exponent = (pipe.delay(t, q.stage) for t in (pipe.input(row.kind), exponent))
        result = Signal(self._blocked)
        m.d.comb += [
            result.kind.eq(kind.value),
            result.q.eq(q.value),
            result.exp.eq(exponent.value),
        ]
        for queue, mine in ((self._x, is_x), (self._bc, ~is_x)):
            queue.connect(issue & mine, pipe.valid(issue & mine, q.stage), result)
        return issue
