"""Epilogue: from the sums of all lanes to rows in their formats, one or two at a time."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import rows_per_cycle
from lightmamba.hardware.rtl.epilogue_row import ROW_BITS, SUM_BITS, EpilogueRow, finished
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import RMS, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.numerics.linear import Epilogue as Arithmetic

__all__ = ["Epilogue"]

PARTS = 16  # norm groups, at most 15
LOSSES = ("lost_in", "lost_out", "lost_head")


class Epilogue(wiring.Component):
    """Bring every sum to the format of its row and hand it to the unit that waits for it.

    Slot by slot, part by part, lane 0 first, in pairs of lanes: 0 and 1, 2 and 3, ...; of an odd
    number of lanes the last one goes alone. Where the lanes make few rows (:func:`rows_per_cycle`),
    a pair is one lane. Two rows per cycle where those of a pair go to
    different units that take them, or are logits or rows of out_proj, which leave together; else
    one: the second of a pair follows the first to the same unit in the next cycle, and does not
    wait for it on the way to another. Pairs leave in order, so the order towards each unit is that
    of the rows. ``latency`` cycles from a transfer on ``i`` to the ``valid`` of the last pair in
    it.

    A job begins with ``parts`` records of 1/rms, or, if it says ``again``, keeps those of the job
    before; only kinds of layers with instructions of their own say so. ``rows`` and ``parts`` are
    at least 1. A section reaches from the ``end`` of the one before it, or row 0, to the row before
    its own; the last one ends at ``rows``, and rows beyond are dropped and not counted. A section
    of two kinds, as ``x|z``, has rows of both, alternating. An empty section costs nothing.

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
        Sums of one part of a slot. It is taken with its last pair.
    i_rms_in, i_rms_out : In(stream of RMS)
        1/rms of the residual stream; of the gate's norm groups.
    o_STREAM : Out(stream of s16 or ROW)
        Rows of in_proj, for each stream of the graph that leaves the unit; a ROW has their kind.
    o_out : Out(stream of OUT_ROWS)
        A pair of rows of out_proj, their parts added, or one where a slot or the job ends with it.
    o_logit : Out(stream of LOGITS)
        The same of logits.
    lost_in, lost_out, lost_head : Out(3)
        Saturations in rows of in_proj, out_proj and the head.
    rows_first, rows_second : Out({valid, kind, value s36})
        Every finished row, those of a pair in the same cycle.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    """

    interval = 1  # of a pair

    command: Any
    i: Any
    i_rms_in: Any
    i_rms_out: Any
    o_out: Any
    o_logit: Any
    lost_in: Any
    lost_out: Any
    lost_head: Any
    rows_first: Any
    rows_second: Any
    busy: Any

    def __init__(self, config: ArchConfig, op: Arithmetic | None = None) -> None:
        self.config = config
        self.rows = [
            EpilogueRow(config, op or Arithmetic(), place)
            for place in range(rows_per_cycle(config))
        ]
        graph = machine(config.kinds)
        streams = [s for s in graph.streams if s.giver == "epilogue"]
        rows = {s.source: [r.name for r in graph.rows if r.stream == s.name] for s in streams}
        rows |= {"epilogue.o_out": ["out"], "epilogue.o_logit": ["logit"]}
        # Kinds of the rows that go to each port, and what it carries.
        self.ways = {
            end.split(".")[1]: [graph.kinds[name] for name in names] for end, names in rows.items()
        }
        given = {s.source.split(".")[1]: payload(s.payload, config) for s in streams}
        self.carried = {name: given[name] for name in self.ways}
        kind = finished(config).members["kind"]
        self.queued = data.StructLayout(
            {"ways": len(self.ways), "kind": kind, "value": signed(SUM_BITS)}
        )
        self.pairs, self.steps = self.rows[0].pairs, self.rows[0].latency
        self.latency = self.steps + 2
        super().__init__(
            {
                "command": i_stream(command("epilogue", config)),
                "i": i_stream(data.ArrayLayout(signed(config.acc_bits), config.lanes)),
                "i_rms_in": i_stream(RMS),
                "i_rms_out": i_stream(RMS),
                **{name: o_stream(given) for name, given in self.carried.items()},
                **{name: Out(3) for name in LOSSES},
                "rows_first": Out(finished(config)),
                "rows_second": Out(finished(config)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        pairs = stream.Signature(data.ArrayLayout(self.queued, len(self.rows))).create()
        queue = Queue(m, pairs, latency=self.steps, settle=True)
        self._route(m, pairs)

        index, part = Signal(range(max(2, self.pairs))), Signal.like(job.fields.parts)
        working, issue = Signal(), Signal()
        row_end, last_part = Signal(), Signal()  # of the lanes; of the parts; both registered
        taking, rms = self._rms(m, job, part)
        ready = working & ~taking & queue.room
        m.d.comb += [
            self.i.ready.eq(ready & row_end),
            issue.eq(ready & self.i.valid),
        ]
        with m.If(job.start):
            m.d.sync += [
                working.eq(1),
                index.eq(0),
                part.eq(0),
                row_end.eq(self.pairs == 1),
                last_part.eq(self.command.payload.parts == 1),
            ]
        with m.Elif(issue):
            m.d.sync += index.eq(Mux(row_end, 0, index + 1))
            m.d.sync += row_end.eq(index == (self.pairs - 2) % self.pairs)
            with m.If(row_end):
                m.d.sync += part.eq(Mux(last_part, 0, part + 1))
                m.d.sync += last_part.eq(Mux(last_part, 1, part + 2) == job.fields.parts)
        row, over = self._walk(m, job, issue, row_end, row_end & last_part)
        with m.If(issue & row_end & last_part & over):
            m.d.sync += working.eq(0)
        job.end(~working & ~queue.busy)

        for n, (name, each) in enumerate(zip(("first", "second"), self.rows, strict=False)):
            m.submodules[name] = each
            lanes = range(n, self.config.lanes, len(self.rows))
            missing = row_end if len(lanes) < self.pairs else Const(0, 1)
            m.d.comb += [
                each.issue.eq(issue & ~missing),
                each.first.eq(part == 0),
                each.last.eq(last_part),
                each.row.eq(row),
                each.index.eq(index),
                Value.cast(each.sums).eq(Cat(self.i.payload[lane] for lane in lanes)),
                Value.cast(each.rms).eq(rms),
                Value.cast(each.fields).eq(Value.cast(job.fields)),
                Value.cast(getattr(self, f"rows_{name}")).eq(Value.cast(each.o)),
            ]
        for name in LOSSES:
            m.d.comb += getattr(self, name).eq(sum(getattr(each, name) for each in self.rows))
        emitted = issue & last_part
        arrives = Pipe(m).valid(emitted, self.steps)
        queue.connect(emitted, arrives, Cat(self._queued(each.o) for each in self.rows))
        return m

    def _walk(
        self, m: Module, job: Job, issue: Value, row_end: Value, slot_end: Value
    ) -> tuple[Signal, Value]:
        """Number of a pair's first row; in a slot's last pair, whether the job ends there.

        Each part of a slot goes over the same rows.
        """
        row, stop = Signal(ROW_BITS), Signal(signed(ROW_BITS + 1))
        width = len(self.rows)
        back = width * (self.pairs - 1)  # to the slot's first row
        onward = self.config.lanes - back  # to the next slot's
        with m.If(job.start):
            m.d.sync += [row.eq(0), stop.eq(self.command.payload.rows - onward)]
        with m.Elif(issue):
            m.d.sync += row.eq(row + Mux(slot_end, onward, Mux(row_end, -back, width)))
        return row, row >= stop

    def _rms(self, m: Module, job: Job, part: Signal) -> tuple[Signal, Value]:
        """Take a job's records of 1/rms; whether that goes on, and the one of ``part`` next."""
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
        new = self.command.payload
        with m.If(job.start):
            m.d.sync += [
                taking.eq(~new.again if "again" in new.shape().members else 1),
                count.eq(0),
            ]
        with m.Elif(write.en):
            m.d.sync += count.eq(count + 1)
            with m.If(count + 1 == job.fields.parts):
                m.d.sync += taking.eq(0)
        return taking, Value.cast(read.data)

    def _route(self, m: Module, pairs: Any) -> None:
        """Offer the rows of the oldest pair to the units that they belong to."""
        rows = [pairs.payload[n] for n in range(len(self.rows))]
        gone = Signal(len(rows))  # taken in an earlier cycle
        takes: list[list[Value]] = [[] for _ in rows]  # in this one, if the pair is there
        for way, name in enumerate(self.ways):
            o = getattr(self, name)
            asks = [row.ways[way] & ~gone[n] for n, row in enumerate(rows)]
            chosen = data.View(self.queued, Mux(asks[0], Value.cast(rows[0]), Value.cast(rows[-1])))
            m.d.comb += o.valid.eq(pairs.valid & Cat(asks).any())
            together = "both" in getattr(self.carried[name], "members", ())
            if together:
                m.d.comb += [
                    o.payload.first.eq(rows[0].value),
                    o.payload.second.eq(rows[-1].value),
                    o.payload.both.eq(Cat(asks[1:]).any()),
                ]
            elif isinstance(self.carried[name], data.Layout):
                m.d.comb += [o.payload.kind.eq(chosen.kind), o.payload.value.eq(chosen.value)]
            else:
                m.d.comb += o.payload.eq(chosen.value)
            for n, ask in enumerate(asks):
                before = Const(0, 1) if together else Cat(asks[:n]).any()
                takes[n].append(ask & ~before & o.ready)
        over = [~row.ways.any() | gone[n] | Cat(takes[n]).any() for n, row in enumerate(rows)]
        m.d.comb += pairs.ready.eq(Cat(over).all())
        with m.If(pairs.valid):
            m.d.sync += gone.eq(Mux(pairs.ready, 0, Cat(over)))

    def _queued(self, row: Any) -> Value:
        """A finished row as it waits for its unit."""
        ways = Cat(row.valid & row.kind.matches(*kinds) for kinds in self.ways.values())
        return Cat(ways, row.kind, row.value)
