"""Attention: grouped queries over all positions of a sequence, a page at a time."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD_BITS
from lightmamba.numerics.attention import Attention as Arithmetic
from lightmamba.rtl import passes
from lightmamba.rtl.attention_mean import Mean
from lightmamba.rtl.attention_pages import Loader, Pages
from lightmamba.rtl.attention_scores import Scores
from lightmamba.rtl.attention_shape import PLACE, Shape, less_one
from lightmamba.rtl.attention_store import Store
from lightmamba.rtl.attention_sums import Sums
from lightmamba.rtl.attention_turns import Slots, Turns
from lightmamba.rtl.attention_weights import Weights
from lightmamba.rtl.job import Countdown, Job
from lightmamba.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.rtl.pipe import Pipe, Queue
from lightmamba.rtl.slices import wide

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Mean of the values of all positions, for every query of the vectors of a pass.

    A job takes its rows (q, k, v), then goes through the heads of keys and values, through the
    slots, and through the pages of 32 positions of each: earlier positions come from memory, those
    of the pass from what was just taken. Five stages work at the same time, each on another page:
    load, scores, weights, sums, means.

    One row of every vector a cycle. A page loads a beat of memory a cycle, and takes
    32·ceil(head_dim / W) cycles (33 at least) of each later stage for every vector and every R
    queries of its group. Means leave one a cycle, head by head; ``latency`` cycles lie between the
    last row and the first mean of a sequence of one position with one word a head.

    Parameters
    ----------
    config : ArchConfig
        W = ``attention_channels``, R = ``attention_rows``, T = ``tokens``.
    op : numerics.attention.Attention
        The arithmetic.

    Members
    -------
    command : In(stream of ``attention``)
        Heads of keys and values, queries of each, and channels; shifts.
    i : In(stream of BLOCKED per vector)
        Rows of q, k and v, heads in order, quantized.
    i_kv0, i_kv1, ... : In(stream of BEAT) per slot
        Earlier positions: head by head, each position its key, its value, and a word of their
        exponents, each padded to whole beats.
    o_kv0, o_kv1, ... : Out(stream of u64) per slot
        The same of the slot's positions of the pass, in words.
    o : Out(stream of s24 per vector)
        Means, query by query.
    kv_before : In(u32) per slot
        Positions that come on ``i_kv``.
    scored : Out({valid, place u5})
        A position has met R queries, for the timeline.
    lost_score : Out(range(R + 1)) per vector
    lost_mean : Out(1) per vector
        Saturations.
    busy : Out
        A command is not finished.
    slot, vector : In(record(SLOT)), In(record(VECTOR)) per slot and vector
        Contents of the pass (:mod:`lightmamba.rtl.passes`).
    """

    interval = 1

    command: Any
    i: Any
    o: Any
    busy: Any
    kv_before: Any
    scored: Any
    lost_score: Any
    lost_mean: Any

    def __init__(self, config: ArchConfig, op: Arithmetic | None = None) -> None:
        self.config, self.op, self.shape = config, op or Arithmetic(), Shape.of(config)
        count = config.tokens
        members: dict[str, Any] = {
            "command": i_stream(command("attention", config)),
            "i": i_stream(wide(payload("BLOCKED", config), count)),
            **{f"i_kv{n}": i_stream(self.shape.beat * WORD_BITS) for n in range(count)},
            **{f"o_kv{n}": o_stream(WORD) for n in range(count)},
            "o": o_stream(wide(signed(self.op.out.bits), count)),
            "kv_before": In(32).array(count),
            "scored": Out(data.StructLayout({"valid": 1, "place": PLACE})),
            "lost_score": Out(range(self.shape.rows + 1)).array(count),
            "lost_mean": Out(1).array(count),
            "busy": Out(1),
        }
        super().__init__(members | passes.members(config))

    def elaborate(self, platform: object) -> Module:
        m, s = Module(), self.shape
        job = Job(m, self.command, self.busy)
        f, start = job.fields, job.start
        slots = Slots(m, start, self.kv_before, passes.slots_of(self), passes.vectors_of(self))
        inputs = [getattr(self, f"i_kv{n}") for n in range(s.tokens)]

        m.submodules.store = store = Store(s, f)
        m.submodules.pages = pages = Pages(s)
        m.submodules.loader = loader = Loader(s, f, slots, store, pages, inputs)
        m.submodules.turns = turns = Turns(s, f, slots)
        m.submodules.scores = scores = Scores(s, self.op, f, store, pages, turns)
        m.submodules.weights = weights = Weights(s, self.op, scores)
        m.submodules.sums = sums = Sums(s, f, pages, weights)
        m.submodules.mean = mean = Mean(s, self.op, f, weights, sums, self.o, self.lost_mean)
        m.d.comb += [
            *(part.start.eq(start) for part in (store, loader, turns, mean)),
            self.i.ready.eq(job.active & store.wants),
            store.taken.eq(self.i.ready & self.i.valid),
            *(q.eq(self.i.payload[n].q) for n, q in enumerate(store.q)),
            *(exp.eq(self.i.payload[n].exp) for n, exp in enumerate(store.exp)),
            loader.freed.eq(sums.page_freed),
            turns.asked.eq(store.asked),
            turns.loaded.eq(loader.loaded),
            turns.head_done.eq(mean.head_done),
            self.scored.valid.eq(scores.valid),
            self.scored.place.eq(scores.place),
        ]
        for n, lost in enumerate(self.lost_score):
            mine = scores.lost_by == n
            m.d.comb += lost.eq(Mux(mine, sum(scores.lost), 0))
        written = self._write(m, start, f, slots, store)
        # Whoever has divided everything has waited for the stages before.
        job.end(store.whole & loader.done & turns.done & mean.done & written)
        return m

    def _write(self, m: Module, start: Signal, f: Any, slots: Slots, store: Store) -> Signal:
        """Write what the pass adds, slot by slot, head by head; whether that is done."""
        s = self.shape
        address, exponents, found = store.reads[1]
        beat_bits = (s.beat - 1).bit_length()
        outputs = [getattr(self, f"o_kv{n}") for n in range(s.tokens)]
        slot, vector = Signal(range(max(2, s.tokens))), Signal(range(max(2, s.tokens)))
        head, section, word = Signal(s.bits("heads")), Signal(2), Signal(6)
        words = f.head_dim[3:]
        whole = Mux(section == 2, 1, words)  # of a section; the rest of its last beat is padding
        left = Countdown(6)

        def padded(count: Value) -> Value:
            return (((count + (s.beat - 1)) >> beat_bits) << beat_bits)[:6]

        layout = data.StructLayout({"word": WORD_BITS, "slot": slot.shape()})
        o = stream.Signature(layout).create(path=("written",))
        queue = Queue(m, o, latency=1)
        m.d.comb += [
            o.ready.eq(Array([each.ready for each in outputs])[o.payload.slot]),
            *(each.valid.eq(o.valid & (o.payload.slot == n)) for n, each in enumerate(outputs)),
            *(each.payload.eq(o.payload.word) for each in outputs),
        ]
        working, issue, part, position, of_slot, of_head = (Signal() for _ in range(6))
        m.d.comb += [
            issue.eq(working & store.whole & queue.room),
            address.eq(Cat(word[: store.word_bits], section[0], head)),
            exponents.eq(section == 2),
            part.eq(left.last),
            position.eq(part & (section == 2)),
            of_head.eq(position & (vector == slots.final[slot])),
            of_slot.eq(of_head & (head == less_one(m, f.heads))),
        ]
        with m.If(start):
            m.d.sync += [
                working.eq(1), *(each.eq(0) for each in (slot, vector, head, section, word)),
            ]  # fmt: skip
            m.d.sync += left.load(padded(self.command.payload.head_dim[3:]))
        with m.Elif(issue):
            m.d.sync += word.eq(Mux(part, 0, word + 1))
            with m.If(position):
                m.d.sync += [section.eq(0), vector.eq(Mux(of_head, 0, vector + 1))]
            with m.Elif(part):
                m.d.sync += section.eq(section + 1)
            with m.If(part):
                m.d.sync += left.load(Mux(section == 1, s.beat, padded(words)))
            with m.Else():
                m.d.sync += left.step()
            with m.If(of_head):
                m.d.sync += head.eq(Mux(of_slot, 0, head + 1))
            with m.If(of_slot):
                m.d.sync += [slot.eq(slot + 1), working.eq(slot != slots.last)]
        pipe = Pipe(m)
        picked = pipe.delay(pipe.input(slots.first[slot] + vector), 1).value
        padding = pipe.delay(pipe.input(word >= whole), 1).value
        given = Signal(layout)
        m.d.comb += [
            given.word.eq(Mux(padding, 0, Array(found)[picked])),
            given.slot.eq(pipe.delay(pipe.input(slot), 1).value),
        ]
        queue.connect(issue, pipe.valid(issue, 1), given)
        done = Signal()
        m.d.comb += done.eq(~working & ~queue.busy)
        return done
