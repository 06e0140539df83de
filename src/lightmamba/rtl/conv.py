"""Convolution and SiLU: the arithmetic is ``CausalConv`` and ``Silu`` of ``numerics.conv``."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.contract import CONV_HEADER as HEADER
from lightmamba.arch.contract import TAPS
from lightmamba.arch.program import Kind
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.rtl.interpolation import sigmoid
from lightmamba.rtl.job import Countdown, Job
from lightmamba.rtl.layouts import ROW, WORD, command, i_stream, o_stream
from lightmamba.rtl.pipe import Pipe, Queue, Timed
from lightmamba.rtl.shifts import add_tree, round_saturate

__all__ = ["Conv"]

CONV, SILU = CausalConv(), Silu()
PARAM = data.StructLayout(
    {"taps": data.ArrayLayout(signed(8), TAPS), "bias": signed(24), "in_shift": unsigned(4)}
)
MAX_IN_SHIFT = 15
LOW, HIGH = -16, 31  # beyond them a number of up to 25 bits is 0, or out of int16, all the same
KINDS = {Kind.B: "silu_B", Kind.C: "silu_C", Kind.X: "silu_x"}
ACC = signed(25)  # four products and a bias, docs/reference/numerics.md


class Conv(wiring.Component):
    """Shift a row to int8, convolve it with the last three inputs of its channel, apply SiLU.

    One channel per cycle, but for the header before every eight: 9 cycles for 8 channels, unless
    rows come more slowly. ``latency`` cycles from a row to its output.

    Parameters
    ----------
    op : CausalConv
    silu : Silu

    Members
    -------
    command : In(stream of ``conv``)
        ``count`` channels, of at least 1; the shifts to the sigmoid's input by kind.
    i : In(stream of ROW)
        Rows of kind X, B and C.
    i_param : In(stream of u64)
        Before every eight channels their eight output shifts, then a word per channel (PARAM).
    i_state : In(stream of u64)
        Last inputs, two channels per word.
    o : Out(stream of ROW)
        The same channels after the SiLU.
    o_state : Out(stream of u64)
        Last inputs for the next token, as they came.
    lost_input, lost : Out
        An input did not fit int8; an output of the convolution int16.
    busy : Out
        A command is not finished.
    """

    latency = 23
    interval = (HEADER + 1) / HEADER
    _shifted, _convolved, _result = 5, 11, 21  # cycles from issue to int8 input, int16, result

    def __init__(self, op: CausalConv = CONV, silu: Silu = SILU) -> None:
        self.op, self.silu = op, silu
        super().__init__(
            {
                "command": i_stream(command("conv")),
                "i": i_stream(ROW),
                "i_param": i_stream(WORD),
                "i_state": i_stream(WORD),
                "o": o_stream(ROW),
                "o_state": o_stream(WORD),
                "lost_input": Out(1),
                "lost": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = Queue(m, self.o, latency=self._result)
        states = Queue(m, self.o_state, latency=self._shifted + 1)
        left = Countdown(16)  # channels still to be issued
        self._silu_shifts = {k: Signal(signed(6), name=name) for k, name in KINDS.items()}
        job = Job(m, self.command, self.busy)
        job.end(~left.some & ~rows.busy & ~states.busy)

        channel = Signal(range(HEADER))  # within its header
        headed = Signal()  # the header of this channel is there
        shifts = Signal(data.ArrayLayout(signed(8), HEADER), reset_less=True)
        ends_word, issue = Signal(), Signal()
        may = left.some & headed & rows.room & states.room
        i, param, state = self.i, self.i_param, self.i_state
        m.d.comb += [
            ends_word.eq(channel[0] | left.last),
            issue.eq(may & i.valid & param.valid & state.valid),
            i.ready.eq(may & param.valid & state.valid),
            param.ready.eq(Mux(headed, may & i.valid & state.valid, left.some)),
            state.ready.eq(may & i.valid & param.valid & ends_word),
        ]
        told = self.command.payload
        with m.If(job.start):
            m.d.sync += [*left.load(told.count), headed.eq(0), channel.eq(0)]
            for k, name in KINDS.items():
                m.d.sync += self._silu_shifts[k].eq(_clamp(told[name]))
        with m.If(issue):
            m.d.sync += [*left.step(), channel.eq(channel + 1)]
            with m.If(channel == HEADER - 1):
                m.d.sync += headed.eq(0)
        with m.Elif(~headed & param.ready & param.valid):
            m.d.sync += [headed.eq(1), shifts.as_value().eq(param.payload)]

        pipe = Pipe(m)
        word = Mux(channel[0], state.payload[32:], state.payload[:32])
        old = [
            pipe.step(lambda v: v, pipe.input(word[8 * n : 8 * n + 8].as_signed()))
            for n in range(TAPS - 1)
        ]
        out_shift = pipe.step(lambda v: v, pipe.input(shifts[channel]))
        kind = pipe.step(lambda v: v, pipe.input(i.payload.kind))
        weights = data.View(PARAM, param.payload[: PARAM.size])

        new, lost_input = self._shift(pipe, weights)
        shifted = pipe.valid(issue, self._shifted)
        half = Cat(*(pipe.delay(t, self._shifted).value for t in (*old[1:], new)), Const(0, 8))
        self._next_state(pipe, states, issue, shifted, half, channel[0], ends_word)
        value, lost = self._convolve(pipe, [*old, new], weights, out_shift)
        convolved = pipe.valid(shifted, self._convolved - self._shifted)
        after = self._activate(pipe, value, kind)

        result = Signal(ROW)
        m.d.comb += [
            self.lost_input.eq(shifted & lost_input.value),
            self.lost.eq(convolved & lost.value),
            result.value.eq(after.value),
            result.kind.eq(pipe.delay(kind, self._result).value),
        ]
        rows.connect(issue, pipe.valid(convolved, self._result - self._convolved), result)
        return m

    def _shift(self, pipe: Pipe, weights: Any) -> tuple[Timed, Timed]:
        """Input as int8, and whether it did not fit."""
        row = pipe.step(lambda v: v, pipe.input(self.i.payload.value))
        in_shift = pipe.step(lambda v: v, pipe.input(weights.in_shift))
        return round_saturate(pipe, row, in_shift, self.op.input, high=MAX_IN_SHIFT)

    def _next_state(
        self, pipe: Pipe, states: Queue, issue: Value, valid: Value, half: Value, odd: Value,
        ends: Value,
    ) -> None:  # fmt: skip
        """Join the last inputs of two channels to a word."""
        before = Signal(32, reset_less=True)
        with pipe.m.If(valid):
            pipe.m.d.sync += before.eq(half)
        word = pipe.step(
            lambda h, second: Mux(second, Cat(before, h), h),
            pipe.input(half, self._shifted), pipe.input(odd),
            shape=64,
        )  # fmt: skip
        states.connect(issue & ends, pipe.valid(issue & ends, word.stage), word.value)

    def _convolve(
        self, pipe: Pipe, window: list[Timed], weights: Any, out_shift: Timed
    ) -> tuple[Timed, Timed]:
        """Sum of the products and the bias, shifted to int16, and whether it did not fit."""
        taps = [pipe.step(lambda v: v, pipe.input(weights.taps[n])) for n in range(TAPS)]
        bias = pipe.step(lambda v: v, pipe.input(weights.bias))
        # The old inputs wait, not their sum: what waits longer than two cycles is no register.
        new = window[-1]
        window = [*(pipe.delay(x, new.stage - 2) for x in window[:-1]), new]
        products = [pipe.step(lambda x, w: x * w, x, w) for x, w in zip(window, taps, strict=True)]
        bias = pipe.settle(pipe.delay(bias, new.stage - 2))
        older = add_tree(pipe, [*products[:-1], bias], levels=1)
        acc = pipe.step(lambda a, b: a + b, older, products[-1], shape=ACC)
        shift = pipe.step(_clamp, out_shift)
        return round_saturate(pipe, acc, shift, self.op.out, low=LOW, high=HIGH)

    def _activate(self, pipe: Pipe, value: Timed, kind: Timed) -> Timed:
        """x·σ(x), the factor from the table."""
        shift_B, shift_C, shift_x = (self._silu_shifts[k] for k in (Kind.B, Kind.C, Kind.X))
        shift = pipe.step(
            lambda k: Mux(k == Kind.X, shift_x, Mux(k == Kind.B, shift_B, shift_C)),
            pipe.delay(kind, value.stage - 1),
        )
        x, _ = round_saturate(pipe, value, shift, self.silu.table, low=LOW, high=HIGH)
        sigma = sigmoid(pipe, x, self.silu.sigmoid.nodes)
        product = pipe.step(lambda v, s: v * s, value, sigma)
        return pipe.step(lambda p: (p + (1 << 15)) >> 16, product, shape=signed(16))


def _clamp(shift: Value) -> Value:
    """Shift within LOW..HIGH, to which further ones are equal."""
    return Mux(shift < LOW, LOW, Mux(shift > HIGH, HIGH, shift))[:6].as_signed()
