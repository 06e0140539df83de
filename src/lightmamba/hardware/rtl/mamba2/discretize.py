"""Discretizer: dt of every head and the decay of its state."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.hardware.rtl.interpolation import interpolate
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed
from lightmamba.hardware.rtl.shifts import round_shift, saturate, shift_cut
from lightmamba.numerics.ssm import Discretize

__all__ = ["Discretizer"]

OP = Discretize()
SHIFTS = (-30, 62)  # right shift of dt·A to the exponent of the decay
DATAPATH = 24  # cycles without the queue


class Discretizer(wiring.Component):
    """Map each row of dt, with the parameters of its head, to dt and exp(dt·A).

    ``latency`` cycles from a transfer on ``i`` to ``o.valid``; one head per cycle. A row and its
    parameters are taken in the same cycle. A job is over when its last result has been taken.

    Parameters
    ----------
    op : Discretize
        The arithmetic.

    Members
    -------
    command : In(stream of discretize)
        ``count`` heads, and the limits of the input of softplus.
    i : In(stream of signed(16))
        Rows of dt, Q5.11.
    i_param : In(stream of unsigned(64))
        Per head dt_bias s16, A s16 (not negative), A_shift s8, D s16, from the low bits up.
    o : Out(stream of DISCRETE)
        Mantissa and shift of dt, decay with 24 fractional bits, D.
    busy : Out(1)
        A command is being worked on.
    lost : Out(1)
        A sum of dt and its bias did not fit 16 bits.
    """

    latency, interval = DATAPATH + 2, 1

    def __init__(self, op: Discretize = OP) -> None:
        self.op = op
        super().__init__(
            {
                "command": i_stream(command("discretize")),
                "i": i_stream(signed(16)),
                "i_param": i_stream(WORD),
                "o": o_stream(payload("DISCRETE")),
                "busy": Out(1),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        queue = Queue(m, self.o, latency=DATAPATH)

        left, room, issue = Signal.like(job.fields.count), Signal(), Signal()
        m.d.comb += [
            room.eq((left != 0) & queue.room),
            self.i.ready.eq(room & self.i_param.valid),
            self.i_param.ready.eq(room & self.i.valid),
            issue.eq(room & self.i.valid & self.i_param.valid),
        ]
        with m.If(job.start):
            m.d.sync += left.eq(self.command.payload.count)
        with m.Elif(issue):
            m.d.sync += left.eq(left - 1)
        job.end((left == 0) & ~queue.busy)

        word = pipe.step(lambda v: v, pipe.input(self.i_param.payload))
        row = pipe.step(lambda v: v, pipe.input(self.i.payload))
        A = pipe.comb(lambda w: w[16:31], word)
        A_shift = pipe.comb(lambda w: w[32:40].as_signed(), word)
        D = pipe.comb(lambda w: w[40:56], word)

        x, lost = self._input(pipe, row, word, job)
        taken = pipe.valid(issue, DATAPATH)
        m.d.comb += self.lost.eq(pipe.delay(lost, DATAPATH).value & taken)
        softplus = self.op.softplus
        value, shift = interpolate(pipe, softplus.nodes, x, softplus.shifts.tolist())
        dt = pipe.comb(lambda v: v[:16].as_unsigned(), value)
        shift = pipe.comb(lambda v: v[:6], shift)
        decay = self._decay(pipe, dt, shift, A, A_shift)
        result = pipe.comb(lambda *v: Cat(v), dt, shift, decay, D)
        queue.connect(issue, taken, pipe.delay(result, DATAPATH).value)
        return m

    def _input(self, pipe: Pipe, row: Timed, word: Timed, job: Job) -> tuple[Timed, Timed]:
        """Biased and limited row as an offset above -32768, and whether it overflowed."""
        form, fields = self.op.input, job.fields
        biased = pipe.step(lambda r, w: r + w[:16].as_signed(), row, word)
        kept, lost = saturate(pipe, biased, form)
        low = pipe.step(lambda k: Mux(k < fields.low, fields.low, k), kept, shape=signed(16))
        limited = pipe.step(lambda k: Mux(k > fields.high, fields.high, k), low, shape=signed(16))
        return pipe.comb(lambda v: Cat(v[:15], ~v[15]), limited), lost

    def _decay(self, pipe: Pipe, dt: Timed, shift: Timed, A: Timed, A_shift: Timed) -> Timed:
        """2^-(dt·A), 24 fractional bits. 14 cycles."""
        exp2, (low, high) = self.op.exp2, SHIFTS
        product = pipe.step(lambda d, a: Cat(d * a, 0).as_signed(), dt, A)
        A_shift = pipe.settle(pipe.delay(A_shift, shift.stage - 1))
        by = pipe.step(lambda s, a: s + a - 24, shift, A_shift)
        by = pipe.step(
            lambda v: Mux(v < low, low, Mux(v > high, high, v)), by, shape=signed(7)
        )  # fmt: skip
        twice = shift_cut(pipe, product, by, 32, low=low, high=high)  # never negative
        t = pipe.step(
            lambda v: Mux(v[30:].any() | v[:30].all(), exp2.top, (v[:30] + 1) >> 1),
            twice, shape=unsigned(29),
        )  # fmt: skip
        value = interpolate(pipe, exp2.nodes, pipe.comb(lambda t: t[:24], t))
        value = pipe.comb(lambda v: Cat(v[:25], 0).as_signed(), value)
        whole = pipe.comb(lambda t: t[24:], t)
        power = round_shift(pipe, value, whole, high=31)
        return pipe.step(_below_one, power, shape=unsigned(24))


def _below_one(value: Value) -> Value:
    """2^24 becomes 2^24 - 1."""
    return value[:24] | value[24].replicate(24)
