"""Convolution and SiLU: the arithmetic is ``CausalConv`` and ``Silu`` of ``numerics.conv``."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import CONV_HEADER as HEADER
from lightmamba.arch.contract import TAPS, WORD_BITS
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl import passes
from lightmamba.hardware.rtl.gated import limit, silu
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.mamba2.conv_slots import Slots
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed
from lightmamba.hardware.rtl.shifts import add_tree, round_saturate
from lightmamba.hardware.rtl.slices import wide
from lightmamba.numerics.conv import CausalConv, Silu

__all__ = ["Conv"]

CONV, SILU = CausalConv(), Silu()
PARAM = data.StructLayout(
    {"taps": data.ArrayLayout(signed(8), TAPS), "bias": signed(24), "in_shift": unsigned(4)}
)
MAX_IN_SHIFT = 15
LOW, HIGH = -16, 31  # beyond them a number of up to 25 bits is 0, or out of int16, all the same
KINDS = {"B": "silu_B", "C": "silu_C", "x": "silu_x"}
ACC = signed(25)  # four products and a bias, docs/reference/numerics.md
SHIFTED, CONVOLVED, RESULT = 5, 14, 24  # cycles from an issue to int8 inputs, int16, results
KEPT = 8  # cycles from an issue to a word of the next state


class Conv(wiring.Component):
    """Shift a row to int8, convolve it with the last three inputs of its channel, apply SiLU.

    One channel of all vectors per cycle, except for the header before every eight channels: 9
    cycles for 8 channels, unless rows come more slowly. ``latency`` cycles from a row to its
    output.

    Parameters
    ----------
    config : ArchConfig
        T = ``tokens``; ``window`` bytes of state per channel.
    op : CausalConv
    silu : Silu

    Members
    -------
    command : In(stream of ``conv``)
        ``count`` channels, of at least 1; the shifts to the sigmoid's input by kind.
    i : In(stream of ROW per vector)
        Rows of kind X, B and C, all vectors of one kind.
    i_param : In(stream of u64)
        Before every eight channels their eight output shifts, then a word per channel (PARAM).
    i_state0, i_state1, ... : In(stream of u64) per slot
        Last inputs, ``8 / window`` channels per word; see
        :class:`lightmamba.hardware.rtl.mamba2.conv_slots.Slots`.
    o : Out(stream of ROW per vector)
        The same channels after the SiLU.
    o_state0, o_state1, ... : Out(stream of u64) per slot
        Last inputs for the next pass, as they came.
    lost_input, lost : Out(1) per vector
        An input did not fit int8; an output of the convolution int16.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) per slot and vector
        Contents of the pass (:mod:`lightmamba.hardware.rtl.passes`), stable from the transfer of a
        command until it is finished. The vectors of a slot are adjacent.
    probe : Out({valid, value s8}) per vector
        Inputs as int8.
    """

    interval = (HEADER + 1) / HEADER
    latency = RESULT + 2

    command: Any
    i: Any
    i_param: Any
    o: Any
    lost_input: Any
    lost: Any
    busy: Any
    probe: Any

    def __init__(self, config: ArchConfig, op: CausalConv = CONV, silu: Silu = SILU) -> None:
        self.config, self.op, self.silu = config, op, silu
        self.tokens = count = config.tokens
        row = wide(payload("ROW", config), count)
        members: dict[str, Any] = {
            "command": i_stream(command("conv", config)),
            "i": i_stream(row),
            "i_param": i_stream(WORD),
            **{f"i_state{n}": i_stream(WORD) for n in range(count)},
            "o": o_stream(row),
            **{f"o_state{n}": o_stream(WORD) for n in range(count)},
            "lost_input": Out(1).array(count),
            "lost": Out(1).array(count),
            "busy": Out(1),
            "probe": Out(data.StructLayout({"valid": 1, "value": signed(8)})).array(count),
        }
        super().__init__(members | passes.members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, states = Queue(m, self.o, latency=RESULT), Slots(m, self, latency=KEPT)
        left = Countdown(16)  # channels still to be issued
        self._silu_shifts = {k: Signal(signed(6), name=name) for k, name in KINDS.items()}
        job = Job(m, self.command, self.busy)
        job.end(~left.some & ~rows.busy & ~states.busy)

        channel = Signal(range(HEADER))  # within its header
        headed = Signal()  # the header of this channel is there
        shifts = Signal(data.ArrayLayout(signed(8), HEADER), reset_less=True)
        ends_word, issue = Signal(), Signal()
        may = left.some & headed & rows.room & states.room
        i, param = self.i, self.i_param
        whole = self.config.window == WORD_BITS // 8  # a word is of one channel
        m.d.comb += [
            ends_word.eq(1 if whole else channel[0] | left.last),
            issue.eq(may & i.valid & param.valid & states.valid),
            i.ready.eq(may & param.valid & states.valid),
            param.ready.eq(Mux(headed, may & i.valid & states.valid, left.some)),
            states.ready.eq(may & i.valid & param.valid & ends_word),
        ]
        given = self.command.payload
        with m.If(job.start):
            m.d.sync += [*left.load(given.count), headed.eq(0), channel.eq(0)]
            for k, name in KINDS.items():
                m.d.sync += self._silu_shifts[k].eq(_clamp(given[name]))
        with m.If(issue):
            m.d.sync += [*left.step(), channel.eq(channel + 1)]
            with m.If(channel == HEADER - 1):
                m.d.sync += headed.eq(0)
        with m.Elif(~headed & param.ready & param.valid):
            m.d.sync += [headed.eq(1), shifts.as_value().eq(param.payload)]

        pipe = Pipe(m)
        states.take(pipe, channel[0])
        out_shift = pipe.step(lambda v: v, pipe.input(shifts[channel]))
        kind = pipe.step(lambda v: v, pipe.input(i.payload[0].kind))
        weights = data.View(PARAM, param.payload[: PARAM.size])

        new, lost_input = self._shift(pipe, list(i.payload), weights)
        shifted = pipe.valid(issue, SHIFTED)
        windows = states.windows(pipe, new)
        for n, (queue, kept) in enumerate(zip(states.queues, states.kept(pipe, new), strict=True)):
            used, valid = issue & states.used[n], pipe.valid(issue, kept.stage)
            if whole:
                queue.connect(used, pipe.valid(used, kept.stage), kept.value)
            else:
                self._next_state(pipe, queue, used, valid, kept, channel[0], ends_word)
        values, lost = self._convolve(pipe, windows, weights, out_shift)
        convolved = pipe.valid(shifted, CONVOLVED - SHIFTED)
        after = self._activate(pipe, values, kind)

        results = Signal(self.o.payload.shape(), name="result")
        for n, result in enumerate(results):
            m.d.comb += [
                self.lost_input[n].eq(shifted & lost_input[n].value),
                self.lost[n].eq(convolved & lost[n].value),
                result.value.eq(after[n].value),
                result.kind.eq(pipe.delay(kind, RESULT).value),
                self.probe[n].valid.eq(shifted),
                self.probe[n].value.eq(new[n].value),
            ]
        rows.connect(issue, pipe.valid(convolved, RESULT - CONVOLVED), results)
        return m

    def _shift(self, pipe: Pipe, given: list[Any], weights: Any) -> tuple[list[Timed], list[Timed]]:
        """Inputs as int8, and whether they did not fit."""
        rows = [pipe.step(lambda v: v, pipe.input(row.value)) for row in given]
        in_shift = pipe.step(lambda v: v, pipe.input(weights.in_shift))
        found = [
            round_saturate(pipe, row, in_shift, self.op.input, high=MAX_IN_SHIFT) for row in rows
        ]
        return [x for x, _ in found], [lost for _, lost in found]

    def _next_state(
        self, pipe: Pipe, states: Queue, issue: Value, valid: Value, half: Timed, odd: Value,
        ends: Value,
    ) -> None:  # fmt: skip
        """Join the last inputs of two channels to a word."""
        before = Signal(32, reset_less=True)
        with pipe.m.If(valid):
            pipe.m.d.sync += before.eq(half.value)
        word = pipe.step(
            lambda h, second: Mux(second, Cat(before, h), h), half, pipe.input(odd), shape=64
        )
        states.connect(issue & ends, pipe.valid(issue & ends, word.stage), word.value)

    def _convolve(
        self, pipe: Pipe, windows: list[list[Timed]], weights: Any, out_shift: Timed
    ) -> tuple[list[Timed], list[Timed]]:
        """Sums of the products and the bias, shifted to int16, and whether they did not fit."""
        taps = [pipe.step(lambda v: v, pipe.input(weights.taps[n])) for n in range(TAPS)]
        bias = pipe.step(lambda v: v, pipe.input(weights.bias))
        # The old inputs wait, not their sum: what waits longer than two cycles is no register.
        first = max(windows[0][0].stage, windows[0][-1].stage - 2)
        windows = [[*(pipe.delay(x, first) for x in old), new] for *old, new in windows]
        # Each of these meets the inputs of every vector, so it is a register.
        taps = [pipe.settle(pipe.delay(tap, first - 1)) for tap in taps]
        products = [
            [pipe.step(lambda x, w: x * w, x, w) for x, w in zip(window, taps, strict=True)]
            for window in windows
        ]
        bias = pipe.settle(pipe.delay(bias, first))
        acc = [add_tree(pipe, [*each, bias], levels=1) for each in products]
        shift = pipe.step(_clamp, out_shift)
        found = [round_saturate(pipe, a, shift, self.op.out, low=LOW, high=HIGH) for a in acc]
        return [x for x, _ in found], [lost for _, lost in found]

    def _activate(self, pipe: Pipe, values: list[Timed], kind: Timed) -> list[Timed]:
        """x·σ(x), the factor from the table."""
        shift_B, shift_C, shift_x = (self._silu_shifts[k] for k in ("B", "C", "x"))
        kinds = machine(self.config.kinds).kinds
        shift = pipe.step(
            lambda k: Mux(k == kinds["x"], shift_x, Mux(k == kinds["B"], shift_B, shift_C)),
            pipe.delay(kind, values[0].stage - 1),
        )
        after = []
        for value in values:
            after.append(silu(pipe, self.silu, value, shift.value, (LOW, HIGH)))
        return after


def _clamp(shift: Value) -> Value:
    """Shift within LOW..HIGH, to which further ones are equal."""
    return limit(shift, LOW, HIGH)[:6].as_signed()
