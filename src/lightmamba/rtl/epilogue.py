"""Epilogue: from the sums of all lanes to rows in their formats, one after another."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.program import Kind
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue as Arithmetic
from lightmamba.rtl.job import Job
from lightmamba.rtl.lane import split_product
from lightmamba.rtl.layouts import RMS, ROW, command, i_stream, o_stream
from lightmamba.rtl.pipe import Pipe, Queue, Timed, select
from lightmamba.rtl.shifts import round_shift, saturate

__all__ = ["Epilogue"]

PARTS = 16  # norm groups, at most 15
SUM_BITS = 36  # of 15 parts of 32 bits
SHIFT_MAX = 62
NEAR = 8  # lanes that one multiplexer picks from
SECTIONS = ("first", "second", "third", "fourth", "fifth")
X, Z = len(SECTIONS), len(SECTIONS) + 1  # the runs of a head, after the sections
SHIFTS = ("dt", "B", "C", "x", "z", "dt", "dt")  # static shift by kind; OUT and LOGIT have dt's

FINISHED = data.StructLayout({"kind": 3, "value": signed(SUM_BITS)})
WALK = data.StructLayout({"rows": 20, "section": 3, "left": 20})  # still to come; of a section


class Epilogue(wiring.Component):
    """Bring every sum to the format of its row and hand it to the unit that waits for it.

    One row per cycle while the unit that the oldest row goes to takes it: slot by slot, part by
    part, lane 0 first; ``latency`` cycles from a transfer on ``i`` to the ``valid`` of the last row
    in it. A job begins with ``parts`` records of 1/rms. Rows beyond ``rows`` are dropped and not
    counted. An empty section costs a cycle. After the sections come x and z of one head after the
    other until ``rows`` are through, so ``heads`` itself is not looked at. ``rows`` and ``parts``
    are at least 1. Rows of OUT and LOGIT have the static shift of dt.

    Source: ``numerics.linear.Epilogue``.

    Parameters
    ----------
    config : ArchConfig
        Lanes and the width of a sum.
    op : numerics.linear.Epilogue
        The arithmetic.

    Members
    -------
    command : In(stream of command("epilogue"))
    i : In(stream of lanes x signed(acc_bits))
        Sums of one part of a slot. It is taken with its last row.
    i_rms_in, i_rms_out : In(stream of RMS)
        1/rms of the residual stream; of the gate's norm groups.
    o_dt, o_z : Out(stream of s16)
    o_conv : Out(stream of ROW)
        Rows of x, B and C.
    o_out : Out(stream of s36)
        Rows of out_proj, their parts added.
    o_logit : Out(stream of s32)
    lost_in, lost_out, lost_head : Out(2)
        Saturations in rows of in_proj, out_proj and the head.
    probe : Out({valid, kind, value s36})
        Every finished row.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    interval = 1

    command: Any
    i: Any
    i_rms_in: Any
    i_rms_out: Any
    o_dt: Any
    o_conv: Any
    o_z: Any
    o_out: Any
    o_logit: Any
    lost_in: Any
    lost_out: Any
    lost_head: Any
    probe: Any
    busy: Any

    def __init__(self, config: ArchConfig, op: Arithmetic | None = None) -> None:
        self.config, self.op = config, op or Arithmetic()
        self.steps = 13 + (config.lanes > NEAR)
        self.latency = self.steps + 2
        super().__init__(
            {
                "command": i_stream(command("epilogue")),
                "i": i_stream(data.ArrayLayout(signed(config.acc_bits), config.lanes)),
                "i_rms_in": i_stream(RMS),
                "i_rms_out": i_stream(RMS),
                "o_dt": o_stream(signed(16)),
                "o_conv": o_stream(ROW),
                "o_z": o_stream(signed(16)),
                "o_out": o_stream(signed(SUM_BITS)),
                "o_logit": o_stream(signed(32)),
                "lost_in": Out(2),
                "lost_out": Out(2),
                "lost_head": Out(2),
                "probe": Out(data.StructLayout({"valid": 1, "kind": 3, "value": signed(SUM_BITS)})),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, job = Pipe(m), Job(m, self.command, self.busy)
        rows = stream.Signature(FINISHED).create()
        queue = Queue(m, rows, latency=self.steps)
        self._route(m, rows)

        lane = Signal(range(max(2, self.config.lanes)))
        part = Signal.like(job.fields.parts)
        working, issue = Signal(), Signal()
        row_end, slot_end, last_part = Signal(), Signal(), Signal()  # of the lanes; of the parts
        walk, known = self._walk(m, job, issue, (lane == 0) & (part == 0), row_end & ~last_part)
        taking, rms = self._rms(m, job, part)
        ready = working & ~taking & queue.room & known
        m.d.comb += [
            row_end.eq(lane == self.config.lanes - 1),
            last_part.eq(part + 1 == job.fields.parts),
            slot_end.eq(row_end & last_part),
            self.i.ready.eq(ready & row_end),
            issue.eq(ready & self.i.valid),
        ]
        with m.If(job.start):
            m.d.sync += [working.eq(1), lane.eq(0), part.eq(0)]
        with m.Elif(issue):
            m.d.sync += lane.eq(Mux(row_end, 0, lane + 1))
            with m.If(row_end):
                m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(slot_end & (walk.rows <= 1)):
                m.d.sync += working.eq(0)
        job.end(~working & ~queue.busy)

        counted = issue & (walk.rows != 0)
        kinds = [job.fields[f"{name}_kind"] for name in SECTIONS]
        kind = pipe.step(
            lambda s: select(m, s, [*kinds, Const(Kind.X, 3), Const(Kind.Z, 3)]),
            pipe.input(walk.section),
        )
        value, lost = self._datapath(pipe, job, pipe.input(lane), kind, rms)
        self._count(m, pipe.delay(kind, lost.stage).value, pipe.valid(counted, lost.stage), lost)
        total = self._add_parts(
            pipe, value, pipe.input(lane), pipe.input(part == 0), pipe.valid(counted, value.stage)
        )

        emitted = counted & last_part
        arrives = pipe.valid(emitted, self.steps)
        finished = self.probe
        m.d.comb += [
            finished.valid.eq(arrives),
            finished.kind.eq(pipe.delay(kind, self.steps).value),
            finished.value.eq(pipe.delay(total, self.steps).value),
        ]
        result = Signal(FINISHED)
        m.d.comb += [result.kind.eq(finished.kind), result.value.eq(finished.value)]
        queue.connect(emitted, arrives, result)
        return m

    def _rms(self, m: Module, job: Job, part: Signal) -> tuple[Signal, Timed]:
        """Take a job's records of 1/rms; whether that goes on, and the record of ``part``."""
        stored = memory.Memory(shape=RMS, depth=PARTS, init=[])
        m.submodules.rms = stored
        write, read = stored.write_port(), stored.read_port()
        taking, count = Signal(), Signal.like(part)
        given = [(self.i_rms_in, ~job.fields.gated), (self.i_rms_out, job.fields.gated)]
        for i, chosen in given:
            m.d.comb += i.ready.eq(taking & chosen)
            with m.If(chosen):
                m.d.comb += [write.data.eq(i.payload), write.en.eq(i.valid & taking)]
        m.d.comb += [write.addr.eq(count), read.addr.eq(part)]
        with m.If(job.start):
            m.d.sync += [taking.eq(1), count.eq(0)]
        with m.Elif(write.en):
            m.d.sync += count.eq(count + 1)
            with m.If(count + 1 == job.fields.parts):
                m.d.sync += taking.eq(0)
        return taking, Timed(Value.cast(read.data), 1)

    def _walk(
        self, m: Module, job: Job, issue: Value, slot_start: Value, again: Value
    ) -> tuple[Any, Value]:
        """Section of every row, and rows to come; whether the next row's section is known.

        Each part of a slot walks over the same rows: ``again`` goes back to the slot's first.
        """
        told, given = job.fields, self.command.payload
        walk, saved = (Signal(WALK, reset_less=True, name=name) for name in ("walk", "saved"))
        onward, turned = Signal(WALK), Signal(WALK)  # one row on; in the next section
        counts = [told[f"{name}_count"] for name in SECTIONS[1:]] + [told.headdim] * 3
        m.d.comb += [
            turned.rows.eq(walk.rows),
            turned.section.eq(Mux(walk.section == Z, X, walk.section + 1)),
            turned.left.eq(select(m, walk.section, counts)),
            onward.eq(walk),
        ]
        with m.If(walk.left == 1):
            m.d.comb += onward.eq(turned)
        with m.Else():
            m.d.comb += onward.left.eq(walk.left - 1)
        m.d.comb += onward.rows.eq(walk.rows - 1)

        over, empty = walk.rows == 0, walk.left == 0
        with m.If(job.start):
            m.d.sync += [
                walk.rows.eq(given.rows),
                walk.section.eq(0),
                walk.left.eq(given.first_count),
            ]
        with m.Elif(issue):
            with m.If(slot_start):
                m.d.sync += saved.eq(walk)
            with m.If(again):
                m.d.sync += walk.eq(Mux(slot_start, walk, saved))
            with m.Elif(~over):
                m.d.sync += walk.eq(onward)
        with m.Elif(empty):
            m.d.sync += walk.eq(turned)
        return walk, over | ~empty

    def _datapath(
        self, pipe: Pipe, job: Job, lane: Timed, kind: Timed, rms: Timed
    ) -> tuple[Timed, Timed]:
        """Value of a lane's row, and how often it was saturated on the way."""
        m, told = pipe.m, job.fields
        sums = [self.i.payload[n] for n in range(self.config.lanes)]
        near = [
            pipe.step(lambda n, g=g: select(m, n[:3], sums[g : g + NEAR]), lane)
            for g in range(0, len(sums), NEAR)
        ]
        acc = near[0]
        if len(near) > 1:
            far = pipe.comb(lambda n: n[3:], lane)
            acc = pipe.step(lambda n, *groups: select(m, n, list(groups)), far, *near)

        static = pipe.step(lambda k: select(m, k, [told[f"shift_{name}"] for name in SHIFTS]), kind)
        j = pipe.comb(lambda r: r[16:].as_signed(), rms)
        shift = pipe.step(lambda s, j: s + j, static, j)
        shift = pipe.step(lambda s: Mux(s < 0, 0, Mux(s > SHIFT_MAX, SHIFT_MAX, s)), shift, shape=6)

        rounded = round_shift(pipe, acc, pipe.input(told.acc_shift), high=SHIFT_MAX)
        wide, lost_wide = saturate(pipe, rounded, self.op.wide)
        product = split_product(pipe, wide, pipe.comb(lambda r: r[:16], rms))
        scaled = round_shift(pipe, product, shift, high=SHIFT_MAX)
        narrow, lost_narrow = saturate(pipe, scaled, INT16)
        full, lost_full = saturate(pipe, scaled, INT32)
        value = pipe.step(lambda n, f: Mux(told.narrow, n, f), narrow, full)
        lost = pipe.step(
            lambda w, n, f: w + Mux(told.narrow, n, f), lost_wide, lost_narrow, lost_full
        )
        return value, lost

    def _add_parts(
        self, pipe: Pipe, value: Timed, lane: Timed, first: Timed, valid: Value
    ) -> Timed:
        """Sum of a row's parts so far: one memory entry per lane, an addition per cycle."""
        m = pipe.m
        sums = memory.Memory(shape=signed(SUM_BITS), depth=max(2, self.config.lanes), init=[])
        m.submodules.sums = sums
        write, read = sums.write_port(), sums.read_port(domain="comb")
        lane, first = pipe.delay(lane, value.stage), pipe.delay(first, value.stage)
        total = Mux(first.value, 0, read.data) + value.value
        m.d.comb += [
            read.addr.eq(lane.value),
            write.addr.eq(lane.value),
            write.data.eq(total),
            write.en.eq(valid),
        ]
        return pipe.step(lambda v: v, Timed(total, value.stage), shape=signed(SUM_BITS))

    def _count(self, m: Module, kind: Value, valid: Value, lost: Timed) -> None:
        """Say to whose rows the losses of this cycle belong."""
        with m.If(valid), m.Switch(kind):
            with m.Case(Kind.OUT):
                m.d.comb += self.lost_out.eq(lost.value)
            with m.Case(Kind.LOGIT):
                m.d.comb += self.lost_head.eq(lost.value)
            with m.Default():
                m.d.comb += self.lost_in.eq(lost.value)

    def _route(self, m: Module, rows: Any) -> None:
        """Offer the oldest row to the unit that it belongs to."""
        value = rows.payload.value
        m.d.comb += [
            self.o_dt.payload.eq(value),
            self.o_conv.payload.kind.eq(rows.payload.kind),
            self.o_conv.payload.value.eq(value),
            self.o_z.payload.eq(value),
            self.o_out.payload.eq(value),
            self.o_logit.payload.eq(value),
        ]
        ways = {
            (Kind.DT,): self.o_dt,
            (Kind.B, Kind.C, Kind.X): self.o_conv,
            (Kind.Z,): self.o_z,
            (Kind.OUT,): self.o_out,
            (Kind.LOGIT,): self.o_logit,
        }
        with m.Switch(rows.payload.kind):
            for kinds, o in ways.items():
                with m.Case(*kinds):
                    m.d.comb += [o.valid.eq(rows.valid), rows.ready.eq(o.ready)]
