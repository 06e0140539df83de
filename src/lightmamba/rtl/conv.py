"""Convolution and SiLU: the arithmetic is ``CausalConv`` and ``Silu`` of ``numerics.conv``."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import CONV_HEADER as HEADER
from lightmamba.arch.contract import TAPS, WORD_BITS
from lightmamba.arch.passes import SLOT, VECTOR
from lightmamba.arch.program import Kind
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.rtl.conv_slots import Slots
from lightmamba.rtl.interpolation import sigmoid
from lightmamba.rtl.job import Countdown, Job
from lightmamba.rtl.layouts import ROW, WORD, command, i_stream, o_stream, record
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
KEPT = 6  # cycles from issue to the next state of one token


class Conv(wiring.Component):
    """Shift a row to int8, convolve it with the last three inputs of its channel, apply SiLU.

    One channel per cycle, of all vectors, but for the header before every eight: 9 cycles for 8
    channels, unless rows come more slowly. ``latency`` cycles from a row to its output: 23, or 26
    in a machine of several tokens, where a vector's last inputs may be those of other vectors.

    Parameters
    ----------
    config : ArchConfig, optional
        Its ``tokens`` is T; without it T is 1.
    op : CausalConv
    silu : Silu

    Members
    -------
    command : In(stream of ``conv``)
        ``count`` channels, of at least 1; the shifts to the sigmoid's input by kind.
    i : In(stream of ROW)
        Rows of kind X, B and C. T > 1: of all vectors side by side, of one kind.
    i_param : In(stream of u64)
        Before every eight channels their eight output shifts, then a word per channel (PARAM).
    i_state : In(stream of u64)
        Last inputs, two channels per word. T > 1: i_state0, i_state1, ..., one for each slot; see
        :class:`lightmamba.rtl.conv_slots.Slots`.
    o : Out(stream of ROW)
        The same channels after the SiLU. T > 1: of all vectors side by side.
    o_state : Out(stream of u64)
        Last inputs for the next token, as they came. T > 1: o_state0, o_state1, ...
    lost_input, lost : Out
        An input did not fit int8; an output of the convolution int16. T > 1: of each vector.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) times T
        Only where T > 1: what the pass holds, stable from the transfer of a command until it is
        finished. A slot's vectors stand side by side.
    probe : Out({valid, value s8}) times T
        Only where T > 1: inputs as int8.
    """

    interval = (HEADER + 1) / HEADER

    command: Any
    i: Any
    i_param: Any
    i_state: Any
    o: Any
    o_state: Any
    lost_input: Any
    lost: Any
    busy: Any
    slot: Any
    vector: Any
    probe: Any

    def __init__(
        self, config: ArchConfig | None = None, op: CausalConv = CONV, silu: Silu = SILU
    ) -> None:
        self.op, self.silu = op, silu
        self.tokens = config.tokens if config else 1
        # Cycles from issue to int8 input, int16, result.
        self._shifted, self._convolved, self._result = 5, 11, 21
        members: dict[str, Any] = {
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
        if config and self.tokens > 1:
            count, self.config = self.tokens, config
            # Windows take a cycle more, and all four products are there at once: two more.
            self._convolved, self._result = 14, 24
            for name, direction in (("i_state", i_stream), ("o_state", o_stream)):
                del members[name]
                members |= {f"{name}{n}": direction(WORD) for n in range(count)}
            members |= {
                "i": i_stream(data.ArrayLayout(ROW, count)),
                "o": o_stream(data.ArrayLayout(ROW, count)),
                "lost_input": Out(1).array(count),
                "lost": Out(1).array(count),
                "slot": In(record(SLOT)).array(count),
                "vector": In(record(VECTOR)).array(count),
                "probe": Out(data.StructLayout({"valid": 1, "value": signed(8)})).array(count),
            }
        self.latency = self._result + 2
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = Queue(m, self.o, latency=self._result)
        several = self.tokens > 1
        states: Any = self._slots(m) if several else Queue(m, self.o_state, latency=KEPT)
        left = Countdown(16)  # channels still to be issued
        self._silu_shifts = {k: Signal(signed(6), name=name) for k, name in KINDS.items()}
        job = Job(m, self.command, self.busy)
        job.end(~left.some & ~rows.busy & ~states.busy)

        channel = Signal(range(HEADER))  # within its header
        headed = Signal()  # the header of this channel is there
        shifts = Signal(data.ArrayLayout(signed(8), HEADER), reset_less=True)
        ends_word, issue = Signal(), Signal()
        may = left.some & headed & rows.room & states.room
        i, param, state = self.i, self.i_param, states if several else self.i_state
        whole = several and self.config.window == WORD_BITS // 8  # a word is of one channel
        m.d.comb += [
            ends_word.eq(1) if whole else ends_word.eq(channel[0] | left.last),
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
        if several:
            states.take(pipe, channel[0])
        else:
            word = Mux(channel[0], state.payload[32:], state.payload[:32])
            old = [
                pipe.step(lambda v: v, pipe.input(word[8 * n : 8 * n + 8].as_signed()))
                for n in range(TAPS - 1)
            ]
        out_shift = pipe.step(lambda v: v, pipe.input(shifts[channel]))
        given = self._vectors(i.payload)
        kind = pipe.step(lambda v: v, pipe.input(given[0].kind))
        weights = data.View(PARAM, param.payload[: PARAM.size])

        new, lost_input = self._shift(pipe, given, weights)
        shifted = pipe.valid(issue, self._shifted)
        if several:
            windows = states.windows(pipe, new)
            for n, (queue, kept) in enumerate(
                zip(states.queues, states.kept(pipe, new), strict=True)
            ):
                used, valid = issue & states.used[n], pipe.valid(issue, kept.stage)
                if whole:
                    queue.connect(used, pipe.valid(used, kept.stage), kept.value)
                else:
                    self._next_state(pipe, queue, used, valid, kept, channel[0], ends_word)
        else:
            half = pipe.comb(lambda *v: Cat(*v, Const(0, 8)), *old[1:], *new)
            self._next_state(pipe, states, issue, shifted, half, channel[0], ends_word)
            windows = [[*old, *new]]
        values, lost = self._convolve(pipe, windows, weights, out_shift)
        convolved = pipe.valid(shifted, self._convolved - self._shifted)
        after = self._activate(pipe, values, kind)

        results = Signal(self.o.payload.shape(), name="result")
        shown = zip(
            self._vectors(results), self._vectors(self.lost_input), self._vectors(self.lost),
            strict=True,
        )  # fmt: skip
        for n, (result, input_count, count) in enumerate(shown):
            m.d.comb += [
                input_count.eq(shifted & lost_input[n].value),
                count.eq(convolved & lost[n].value),
                result.value.eq(after[n].value),
                result.kind.eq(pipe.delay(kind, self._result).value),
            ]
            if several:
                m.d.comb += [self.probe[n].valid.eq(shifted), self.probe[n].value.eq(new[n].value)]
        rows.connect(issue, pipe.valid(convolved, self._result - self._convolved), results)
        return m

    def _slots(self, m: Module) -> Slots:
        """State of all slots of a pass."""
        given, taken = (
            [getattr(self, f"{name}{n}") for n in range(self.tokens)]
            for name in ("i_state", "o_state")
        )
        return Slots(m, self.config, self.slot, self.vector, given, taken, latency=KEPT + 2)

    def _vectors(self, member: Any) -> list[Any]:
        """What belongs to each vector."""
        return [member] if self.tokens == 1 else list(member)

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
        if len(windows) > 1:  # what meets several inputs is a register
            taps = [pipe.settle(pipe.delay(tap, first - 1)) for tap in taps]
        products = [
            [pipe.step(lambda x, w: x * w, x, w) for x, w in zip(window, taps, strict=True)]
            for window in windows
        ]
        bias = pipe.settle(pipe.delay(bias, first))
        if len(windows) > 1:
            acc = [add_tree(pipe, [*each, bias], levels=1) for each in products]
        else:  # the product of the new input comes later
            older = [add_tree(pipe, [*each[:-1], bias], levels=1) for each in products]
            acc = [
                pipe.step(lambda a, b: a + b, some, each[-1], shape=ACC)
                for some, each in zip(older, products, strict=True)
            ]
        shift = pipe.step(_clamp, out_shift)
        found = [round_saturate(pipe, a, shift, self.op.out, low=LOW, high=HIGH) for a in acc]
        return [x for x, _ in found], [lost for _, lost in found]

    def _activate(self, pipe: Pipe, values: list[Timed], kind: Timed) -> list[Timed]:
        """x·σ(x), the factor from the table."""
        shift_B, shift_C, shift_x = (self._silu_shifts[k] for k in (Kind.B, Kind.C, Kind.X))
        shift = pipe.step(
            lambda k: Mux(k == Kind.X, shift_x, Mux(k == Kind.B, shift_B, shift_C)),
            pipe.delay(kind, values[0].stage - 1),
        )
        after = []
        for value in values:
            x, _ = round_saturate(pipe, value, shift, self.silu.table, low=LOW, high=HIGH)
            sigma = sigmoid(pipe, x, self.silu.sigmoid.nodes)
            product = pipe.step(lambda v, s: v * s, value, sigma)
            after.append(pipe.step(lambda p: (p + (1 << 15)) >> 16, product, shape=signed(16)))
        return after


def _clamp(shift: Value) -> Value:
    """Shift within LOW..HIGH, to which further ones are equal."""
    return Mux(shift < LOW, LOW, Mux(shift > HIGH, HIGH, shift))[:6].as_signed()
