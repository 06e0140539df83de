"""Blocks of rows of in_proj: the arithmetic is :class:`lightmamba.numerics.blocks.Pow2Block`."""

from typing import Any

from amaranth.hdl import C, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.held import BlockQueue
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.shifts import bit_length, magnitude, round_saturate
from lightmamba.numerics.blocks import Pow2Block

__all__ = ["Blocks", "HeadBlocks"]

BLOCK = Pow2Block()


class _Blocked(wiring.Component):
    """Give each block of channels a power-of-two exponent and quantize it to int8.

    A block ends after ``op.block`` channels, and where a run of rows does. A block is stored while
    its exponent is found, and the last one is emitted at the same time: one channel per cycle,
    sustained; ``latency`` cycles from the transfer of a block's last channel to its first output.

    The largest magnitude is not needed, only its bit length, and that is the bit length of the OR
    of all magnitudes.

    Parameters
    ----------
    unit : str
        Name of the command.
    outputs : sequence of str
    op : Pow2Block
        To 8 bits; its block is a power of two.
    config : ArchConfig
    """

    latency, interval = 12, 1
    _find, _divide = 3, 5  # cycles from a block's last row to its exponent; from issue to result

    command: Any
    i: Any
    busy: Any

    def __init__(
        self, unit: str, outputs: tuple[str, ...], op: Pow2Block, config: ArchConfig
    ) -> None:
        self.config, self.op, self._outputs = config, op, outputs
        self._row, self._result = payload("ROW", config), payload("BLOCKED", config)
        self._max_shift = 16 - (op.bits - 1)
        super().__init__(
            {
                "command": i_stream(command(unit, config)),
                "i": i_stream(self._row),
                **{name: o_stream(self._result) for name in outputs},
                "busy": Out(1),
            }
        )

    def _begin(self, fields: Any) -> list[Any]:
        """Assignments when a job starts: where runs end."""
        raise NotImplementedError

    def _end(self, kind: Value) -> Value:
        """Last position in a run of rows of a kind."""
        raise NotImplementedError

    def _first(self, kind: Value) -> Value:
        """Whether a row of a kind goes to the first output."""
        return C(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        coming, going = Countdown(16), Signal(16)  # channels still to come, and to be issued
        position = Signal(8)  # in the run
        job, fields = Job(m, self.command, self.busy), self.command.payload
        with m.If(job.start):
            m.d.sync += [
                *coming.load(fields.count),
                going.eq(fields.count),
                *self._begin(fields),
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
            whole.eq(position == self._end(row.kind)),
            last.eq(whole | position[: (self.op.block - 1).bit_length()].all()),
        ]
        with m.If(taken):
            m.d.sync += [*coming.step(), position.eq(Mux(whole, 0, position + 1))]
        held.put(taken, row.as_value(), last)
        self._exponents(m, held, taken, last)

        issue = self._quantize(m, held)
        with m.If(issue):
            m.d.sync += going.eq(going - 1)
        waiting: Value = going == 0
        for queue in self._queues:
            waiting = waiting & ~queue.busy
        job.end(waiting)
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
        row = data.View(self._row, held.element)
        self._queues = [
            Queue(m, getattr(self, name), latency=self._divide) for name in self._outputs
        ]
        first, issue = Signal(), Signal()
        m.d.comb += [
            first.eq(self._first(row.kind)),
            issue.eq(held.ready & Mux(first, self._queues[0].room, self._queues[-1].room)),
        ]
        held.take(issue)

        pipe = Pipe(m)
        value = pipe.step(lambda v: v, pipe.input(row.value), shape=signed(16))
        exponent = pipe.step(lambda v: v, pipe.input(held.number))
        q, _ = round_saturate(pipe, value, exponent, self.op.form, high=self._max_shift)
        kind, exponent = (pipe.delay(t, q.stage) for t in (pipe.input(row.kind), exponent))
        result = Signal(self._result)
        m.d.comb += [
            result.kind.eq(kind.value),
            result.q.eq(q.value),
            result.exp.eq(exponent.value),
        ]
        for queue, mine in zip(self._queues, (first, ~first), strict=False):
            queue.connect(issue & mine, pipe.valid(issue & mine, q.stage), result)
        return issue


class Blocks(_Blocked):
    """Blocks of x, B and C.

    They end at the end of a head (kind X) or a group (B, C); kinds change only there. One channel
    per cycle, sustained; ``latency`` cycles from the transfer of a block's last channel to its
    first output. Heads and groups wait in one queue, so an ``o_x`` that is not taken holds up
    ``o_bc`` behind it, and the other way.

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

    def __init__(self, op: Pow2Block = BLOCK, config: ArchConfig | None = None) -> None:
        config = config or ArchConfig()
        super().__init__("blocks", ("o_x", "o_bc"), op, config)
        self._x_kind = machine(config.kinds).kinds["x"]
        head_end, group_end = Signal(8), Signal(8)  # last position in a head, in a group
        self._ends = head_end, group_end

    def _begin(self, fields: Any) -> list[Any]:
        head_end, group_end = self._ends
        return [head_end.eq(fields.headdim - 1), group_end.eq(fields.d_state - 1)]

    def _end(self, kind: Value) -> Value:
        return Mux(kind == self._x_kind, *self._ends)

    def _first(self, kind: Value) -> Value:
        return kind == self._x_kind


class HeadBlocks(_Blocked):
    """Blocks of q, k and v of attention.

    They end at the end of a head. One channel per cycle, sustained; ``latency`` cycles from the
    transfer of a block's last channel to its first output.

    Parameters
    ----------
    config : ArchConfig
        Kinds of rows.
    op : Pow2Block
        To 8 bits; its block is a power of two.

    Members
    -------
    command : In(stream of ``qkv``)
        ``count`` channels, of at least 1; ``head_dim`` ends the blocks.
    i : In(stream of ROW)
        Channels in runs of whole heads.
    o : Out(stream of BLOCKED)
        The same channels.
    busy : Out
        A command is not finished.
    """

    def __init__(self, config: ArchConfig, op: Pow2Block = BLOCK) -> None:
        super().__init__("qkv", ("o",), op, config)
        self._last = Signal(8, name="head_end")

    def _begin(self, fields: Any) -> list[Any]:
        return [self._last.eq(fields.head_dim - 1)]

    def _end(self, kind: Value) -> Value:
        return self._last
