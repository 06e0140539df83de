"""A row of the epilogue: its kind, its value, and what was lost on the way."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import SECTIONS, rows_per_cycle
from lightmamba.hardware.rtl.layouts import RMS, command
from lightmamba.hardware.rtl.pipe import Pipe, Timed, select
from lightmamba.hardware.rtl.shifts import is_overflow, round_saturate, split_product
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue as Arithmetic

__all__ = ["ROW_BITS", "SUM_BITS", "EpilogueRow", "finished"]

ROW_BITS = 20
SUM_BITS = 36  # of 15 parts of 32 bits
SHIFT_MAX = 62
NEAR = 8  # lanes that one multiplexer picks from


def finished(config: ArchConfig) -> data.StructLayout:
    """Layout of a finished row."""
    kind = command("epilogue", config).members["first_kind"]
    return data.StructLayout({"valid": 1, "kind": kind, "value": signed(SUM_BITS)})


class EpilogueRow(wiring.Component):
    """Bring the sums of every second lane, or of all, to the formats of their rows, one per cycle.

    A row is shown on ``o`` ``latency`` cycles after the issue of its last part. Losses are shown of
    every part. Parts of a row come a slot apart, a cycle at least for each pair. Rows of
    out_proj and of the head have the first of the static shifts.

    The kind of a row is that of the first section that ends after it. It is found while the sum
    is on its way to the multiplier, so it costs no time.

    Source: ``numerics.linear.Epilogue``.

    Parameters
    ----------
    config : ArchConfig
        Lanes and the width of a sum.
    op : numerics.linear.Epilogue
        The arithmetic.
    place : int
        Which row of a pair: 0 takes lanes 0, 2, ..., 1 takes lanes 1, 3, ...; 0 takes all lanes
        where rows are finished one by one.

    Members
    -------
    issue, first, last : In(1)
        A part of a row is issued; it is the first; the last.
    row : In(u20)
        Number of the pair's first row.
    index : In
        Which pair of the slot it is.
    sums : In(lanes x signed(acc_bits))
        Sums of the part, of this row's lanes.
    rms : In(RMS)
        1/rms of the part, one cycle after the issue.
    fields : In(command("epilogue"))
        Sections, shifts and format, stable.
    o : Out({valid, kind, value s36})
        A finished row; not valid beyond the last section.
    lost_in, lost_out, lost_head : Out(2)
        Saturations in rows of in_proj, out_proj and the head.
    """

    interval = 1

    issue: Any
    first: Any
    last: Any
    row: Any
    index: Any
    sums: Any
    rms: Any
    fields: Any
    o: Any
    lost_in: Any
    lost_out: Any
    lost_head: Any

    def __init__(self, config: ArchConfig, op: Arithmetic, place: int) -> None:
        self.op, self.place, self.graph = op, place, machine(config.kinds)
        width = rows_per_cycle(config)
        self.pairs = -(-config.lanes // width)
        lanes = range(place, config.lanes, width)
        super().__init__(
            {
                "issue": In(1),
                "first": In(1),
                "last": In(1),
                "row": In(ROW_BITS),
                "index": In(range(max(2, self.pairs))),
                "sums": In(data.ArrayLayout(signed(config.acc_bits), len(lanes))),
                "rms": In(RMS),
                "fields": In(command("epilogue", config)),
                "o": Out(finished(config)),
                "lost_in": Out(2),
                "lost_out": Out(2),
                "lost_head": Out(2),
            }
        )
        # Built here, for the latency follows from the parts.
        self._m = Module()
        self.latency = self._build(self._m)

    def elaborate(self, platform: object) -> Module:
        return self._m

    def _build(self, m: Module) -> int:
        """Fill ``m``; the cycles from an issue to ``o``."""
        pipe = Pipe(m)
        kind, inside = self._kind(pipe)
        value, lost = self._value(pipe, kind)
        self._count(pipe, kind, inside, lost)
        total = self._add_parts(pipe, value)
        arrives = pipe.valid(self.issue & self.last, total.stage)
        m.d.comb += [
            self.o.valid.eq(arrives & pipe.delay(inside, total.stage).value),
            self.o.kind.eq(pipe.delay(kind, total.stage).value),
            self.o.value.eq(total.value),
        ]
        return total.stage

    def _kind(self, pipe: Pipe) -> tuple[Timed, Timed]:
        """Kind of the row, and whether it is one of the job's."""
        ends = [self.fields[f"{name}_end"] for name in SECTIONS]
        starts = [Const(0, 1), *(end[0] for end in ends)]  # even or odd
        sections = [
            Cat(self.fields[f"{name}_kind"], start)
            for name, start in zip(SECTIONS, starts, strict=False)
        ]
        row = pipe.step(lambda r: (r + self.place)[:ROW_BITS], pipe.input(self.row))
        before = [pipe.step(lambda r, end=end: r < end, row) for end in ends]
        section = pipe.step(lambda *flags: _first(flags, sections), *before)
        bits = len(section.value) - 1
        turn = pipe.comb(lambda s, r: s[bits] ^ r[0], section, row)  # second of two
        kind = pipe.step(lambda s, second: self._turned(s[:bits], second), section, turn)
        return kind, before[-1]

    def _turned(self, kind: Value, second: Value) -> Value:
        """Kind of a row of a section, of which some have two kinds that alternate."""
        kinds, found = self.graph.kinds, kind
        for one, other in self.graph.turns:
            ours = Mux(second, kinds[other], kinds[one])
            found = Mux(kind == kinds[f"{one}|{other}"], ours, found)
        return found

    def _value(self, pipe: Pipe, kind: Timed) -> tuple[Timed, Timed]:
        """Value of a part, and how often it was saturated on the way."""
        m, fields = pipe.m, self.fields
        sums, index = list(self.sums), pipe.input(self.index)
        near = [
            pipe.step(lambda n, g=g: select(m, n[:3], sums[g : g + NEAR]), index)
            for g in range(0, len(sums), NEAR)
        ]
        acc = near[0]
        if len(near) > 1:
            far = pipe.comb(lambda n: n[3:], index)
            acc = pipe.step(lambda n, *groups: select(m, n, list(groups)), far, *near)

        rms = pipe.input(self.rms, 1)
        names = [name for name in self.graph.kinds if "|" not in name]
        shifts = [fields[f"shift_{self.graph.places.get(name, 0)}"] for name in names]
        static = pipe.step(lambda k: select(m, k, shifts), kind)
        j = pipe.comb(lambda r: r[16:].as_signed(), rms)
        shift = pipe.step(lambda s, j: s + j, static, j)
        shift = pipe.step(lambda s: Mux(s < 0, 0, Mux(s > SHIFT_MAX, SHIFT_MAX, s)), shift, shape=6)

        wide, lost_wide = round_saturate(
            pipe, acc, pipe.input(fields.acc_shift), self.op.wide, high=SHIFT_MAX
        )
        product = split_product(pipe, wide, pipe.comb(lambda r: r[:16], rms))
        full, lost_full = round_saturate(pipe, product, shift, INT32, high=SHIFT_MAX)
        # What does not fit int32 does not fit int16 either, cut or not.
        over = pipe.comb(lambda v: fields.narrow & is_overflow(v, INT16), full)
        value = pipe.step(
            lambda v, o: Mux(o, Mux(v < 0, INT16.min, INT16.max), v), full, over,
            shape=signed(32),
        )  # fmt: skip
        lost = pipe.step(lambda w, o, f: w + (o | f), lost_wide, over, lost_full)
        return value, lost

    def _add_parts(self, pipe: Pipe, value: Timed) -> Timed:
        """Sum of a row's parts so far.

        It waits for the next part in a memory with an entry per pair of a slot, which is read a
        cycle before the addition. A single pair comes again in the next cycle, too early for that:
        its sum stays where it was made.
        """
        m, stage = pipe.m, value.stage
        total = Signal(signed(SUM_BITS), reset_less=True)
        summed = Signal(signed(SUM_BITS))
        first, index = pipe.input(self.first), pipe.input(self.index)
        valid = pipe.valid(self.issue, stage)
        if self.pairs == 1:
            first = pipe.settle(pipe.delay(first, stage - 1))
            before = pipe.comb(lambda fresh: Mux(fresh, 0, total), first)
        else:
            sums = memory.Memory(shape=signed(SUM_BITS), depth=self.pairs, init=[])
            m.submodules.sums = sums
            late = int(self.pairs > 2)  # there is time to write what is registered
            write, read = sums.write_port(), sums.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(pipe.delay(index, stage - 1).value),
                write.addr.eq(pipe.delay(index, stage + late).value),
                write.data.eq(total if late else summed),
                write.en.eq(pipe.valid(valid, late)),
            ]
            before = pipe.step(
                lambda fresh, v: Mux(fresh, 0, v), first, Timed(read.data, stage - 1)
            )
        m.d.comb += summed.eq(before.value + value.value)
        with m.If(valid):
            m.d.sync += total.eq(summed)
        return Timed(total, stage + 1)

    def _count(self, pipe: Pipe, kind: Timed, inside: Timed, lost: Timed) -> None:
        """Say to whose rows the losses of the last cycle belong."""
        m = pipe.m
        kind, inside = pipe.delay(kind, lost.stage), pipe.delay(inside, lost.stage)
        valid = pipe.valid(self.issue, lost.stage) & inside.value
        m.d.sync += [self.lost_in.eq(0), self.lost_out.eq(0), self.lost_head.eq(0)]
        with m.If(valid), m.Switch(kind.value):
            with m.Case(self.graph.kinds["out"]):
                m.d.sync += self.lost_out.eq(lost.value)
            with m.Case(self.graph.kinds["logit"]):
                m.d.sync += self.lost_head.eq(lost.value)
            with m.Default():
                m.d.sync += self.lost_in.eq(lost.value)


def _first(flags: Sequence[Value], values: Sequence[Value]) -> Value:
    """Value at the first flag that is set; once one is set, all that follow are."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    low, high = _first(flags[:half], values[:half]), _first(flags[half:], values[half:])
    return Mux(flags[half - 1], low, high)
