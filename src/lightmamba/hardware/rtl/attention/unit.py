"""Attention: grouped queries over all positions of a sequence, a page at a time."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.blocks.attention.hardware import latency
from lightmamba.hardware.rtl import passes
from lightmamba.hardware.rtl.attention.divide import Divide
from lightmamba.hardware.rtl.attention.pages import Loader, Pages
from lightmamba.hardware.rtl.attention.scores import Scores
from lightmamba.hardware.rtl.attention.shape import PLACE, Shape, less_one
from lightmamba.hardware.rtl.attention.store import Store
from lightmamba.hardware.rtl.attention.sums import Sums
from lightmamba.hardware.rtl.attention.tiles import Slots, Tiles
from lightmamba.hardware.rtl.attention.weights import Weights
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.slices import wide
from lightmamba.numerics.attention import Attention as Arithmetic

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Mean of the values of all positions, for every query of the vectors of a pass.

    A job takes its rows (q, k, v), then goes through the heads of keys and values, through the
    slots, and through the pages of 32 positions of each: earlier positions come from memory, those
    of the pass from what was just taken. Five stages work at the same time, each on another page:
    load, scores, weights, sums, division.

    One row of every vector a cycle. W channels of keys meet R queries in a cycle: those of M heads
    of as many positions, or part of one. A page loads W channels of keys and of their values a
    cycle, or as much of them as a row of memory has, and takes 32/M·ceil(head_dim / (W/M)) cycles
    of each later stage for every vector and every R queries of its group. Means leave one a cycle,
    head by head; ``latency`` cycles lie between the last row and the first mean of a sequence of
    one position with one word a head.

    Multipliers: W·R for the sums of values, W·R/2 for the scores (W·ceil(R/2) where M is 1), R for
    each 32 channels, and those of the tables.

    Parameters
    ----------
    config : ArchConfig
        W = ``attention_channels``, of M = ``attention_positions``, R = ``attention_rows``,
        T = ``tokens``.
    op : numerics.attention.Attention
        The arithmetic.

    Members
    -------
    command : In(stream of ``attention``)
        Heads of keys and values, queries of each, and channels; shifts.
    i : In(stream of BLOCKED per vector)
        Rows of q, k and v, heads in order, quantized.
    i_kv : In(stream of ROWS)
        Earlier positions, head by head, slot by slot: units of a row with a word of exponents for
        each of its positions, then rows of W channels of a key, the same of its value, and so on.
    o_kv : Out(stream of u64)
        Positions of the pass, slot by slot, each head by head: a word of exponents, then the same
        words of keys and values.
    o : Out(stream of s24 per vector)
        Means, query by query.
    kv_before : In(u32) per slot
        Positions that come on ``i_kv``.
    scored : Out({valid, place u5})
        A position has met R queries, for the timeline.
    lost_score : Out(range(M·R + 1)) per vector
    lost_mean : Out(1) per vector
        Saturations.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) per slot and vector
        Contents of the pass (:mod:`lightmamba.hardware.rtl.passes`).
    """

    interval = 1

    command: Any
    i: Any
    o: Any
    busy: Any
    i_kv: Any
    o_kv: Any
    kv_before: Any
    scored: Any
    lost_score: Any
    lost_mean: Any

    def __init__(self, config: ArchConfig, op: Arithmetic | None = None) -> None:
        self.config, self.op, self.shape = config, op or Arithmetic(), Shape.of(config)
        self.latency = latency(config)
        count = config.tokens
        members: dict[str, Any] = {
            "command": i_stream(command("attention", config)),
            "i": i_stream(wide(payload("BLOCKED", config), count)),
            "i_kv": i_stream(self.shape.row * 8),
            "o_kv": o_stream(WORD),
            "o": o_stream(wide(signed(self.op.out.bits), count)),
            "kv_before": In(32).array(count),
            "scored": Out(data.StructLayout({"valid": 1, "place": PLACE})),
            "lost_score": Out(range(self.shape.rows * self.shape.positions + 1)).array(count),
            "lost_mean": Out(1).array(count),
            "busy": Out(1),
        }
        super().__init__(members | passes.members(config))

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        job = Job(m, self.command, self.busy)
        f, start = job.fields, job.start
        slots = Slots(m, start, self.kv_before, passes.slots_of(self), passes.vectors_of(self))

        m.submodules.store = store = Store(s, f)
        m.submodules.pages = pages = Pages(s)
        m.submodules.loader = loader = Loader(s, f, slots, store, pages, self.i_kv)
        m.submodules.tiles = tiles = Tiles(s, f, slots)
        m.submodules.scores = scores = Scores(s, self.op, f, store, pages, tiles)
        m.submodules.weights = weights = Weights(s, self.op, scores)
        m.submodules.sums = sums = Sums(s, f, pages, weights)
        m.submodules.divide = divide = Divide(s, self.op, f, weights, sums, self.o, self.lost_mean)
        m.d.comb += [
            *(part.start.eq(start) for part in (store, loader, tiles, divide)),
            self.i.ready.eq(job.active & store.wants),
            store.taken.eq(self.i.ready & self.i.valid),
            *(q.eq(self.i.payload[n].q) for n, q in enumerate(store.q)),
            *(exp.eq(self.i.payload[n].exp) for n, exp in enumerate(store.exp)),
            loader.freed.eq(sums.page_freed),
            tiles.asked.eq(store.asked),
            tiles.loaded.eq(loader.loaded),
            tiles.head_done.eq(divide.head_done),
            self.scored.valid.eq(scores.valid),
            self.scored.place.eq(scores.first),
        ]
        for n, lost in enumerate(self.lost_score):
            mine = scores.lost_by == n
            m.d.comb += lost.eq(Mux(mine, sum(scores.lost), 0))
        # A row that is being read may be one to which a position is appended.
        written = self._write(m, start, f, slots, store, loader.done)
        # The divider is last, so all earlier stages are done when it is.
        job.end(store.whole & loader.done & tiles.done & divide.done & written)
        return m

    def _write(
        self, m: Module, start: Signal, f: Any, slots: Slots, store: Store, may: Signal
    ) -> Signal:
        """Write what the pass adds, slot by slot, position by position; whether that is done."""
        s = self.shape
        address, exponents, found = store.reads[1]
        slot, vector = Signal(range(max(2, s.tokens))), Signal(range(max(2, s.tokens)))
        head, header, word = Signal(s.bits("heads")), Signal(), Signal(6)
        left, within = Countdown(7), exact_log2(s.per)
        inside = Cat(word[:within], word[within + 1 :])  # of a key or a value; the rest is padding
        queue = Queue(m, self.o_kv, latency=1)
        working, issue, of_head, of_position, of_slot = (Signal() for _ in range(5))
        m.d.comb += [
            issue.eq(working & may & store.whole & queue.room),
            address.eq(Cat(inside[: store.word_bits], word[within], head)),
            exponents.eq(header),
            of_head.eq(~header & left.last),
            of_position.eq(of_head & (head == less_one(m, f.heads))),
            of_slot.eq(of_position & (vector == slots.final[slot])),
        ]
        begin = [header.eq(1), word.eq(0), *left.load((f.parts << within + 1)[:7])]
        with m.If(start):
            m.d.sync += [working.eq(1), *(each.eq(0) for each in (slot, vector, head))]
            m.d.sync += [header.eq(1), word.eq(0)]
        with m.Elif(issue):
            with m.If(header):
                m.d.sync += [*begin, header.eq(0)]
            with m.Else():
                m.d.sync += [word.eq(word + 1), *left.step()]
            with m.If(of_head):
                m.d.sync += [*begin, head.eq(Mux(of_position, 0, head + 1))]
            with m.If(of_position):
                m.d.sync += vector.eq(Mux(of_slot, 0, vector + 1))
            with m.If(of_slot):
                m.d.sync += [slot.eq(slot + 1), working.eq(slot != slots.last)]
        pipe = Pipe(m)
        picked = pipe.delay(pipe.input(slots.first[slot] + vector), 1).value
        padding = pipe.delay(pipe.input(~header & (inside >= f.head_dim[3:])), 1).value
        queue.connect(issue, pipe.valid(issue, 1), Mux(padding, 0, Array(found)[picked]))
        done = Signal()
        m.d.comb += done.eq(~working & ~queue.busy)
        return done
