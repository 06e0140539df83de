"""The record of a pass: its own is written, that of an earlier one is read."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import RECORD_BITS, WORD_BITS
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD
from lightmamba.hardware.rtl.mamba2.bc import RowWalk, element_memory
from lightmamba.hardware.rtl.mamba2.ssm_heads import PARAMETERS, HeadBuffer, packed
from lightmamba.hardware.rtl.mamba2.ssm_walk import Held
from lightmamba.hardware.rtl.streams import StreamQueue, join

__all__ = ["RecordReader", "RecordWriter", "RecordedB"]


class RecordWriter:
    """Fill the buffer of new heads, and write what comes into the record if there is one.

    In the record come channels of B, then head by head its parameters and rows.

    Parameters
    ----------
    m : Module
    unit : Ssm
    job : Job
    buffer : HeadBuffer

    Attributes
    ----------
    busy : Signal
        Words of the record are not taken.
    """

    def __init__(self, m: Module, unit: Any, job: Job, buffer: HeadBuffer) -> None:
        config: ArchConfig = unit.config
        tokens, records = config.tokens, unit.records
        m.submodules.o_record = queue = StreamQueue(WORD, 4)
        join(m, queue.o, unit.o_record)
        chunk = Signal(tokens * WORD_BITS, reset_less=True)
        left = Countdown(max(tokens, config.record_words).bit_length())
        channels = Countdown(16)  # of B
        self.busy, free = Signal(), Signal()
        m.d.comb += [
            queue.i.valid.eq(left.some),
            queue.i.payload.eq(chunk[:WORD_BITS]),
            free.eq(~left.some | (left.last & queue.i.ready)),
            self.busy.eq(left.some | (queue.level != 0)),
        ]
        with m.If(queue.i.valid & queue.i.ready):
            m.d.sync += [chunk.eq(chunk >> WORD_BITS), *left.step()]
        with m.If(job.start):
            m.d.sync += channels.load(unit.b_channels)

        pop, is_b, take_b = Signal(), Signal(), Signal()
        b = Held(m, unit.i_b, pop)
        in_order = Signal()  # a head's turn: B is in the record
        m.d.comb += [
            is_b.eq(b.payload[0].kind == machine(config.kinds).kinds["B"]),
            pop.eq(b.full & (~is_b | (job.active & channels.some & (~records | free)))),
            take_b.eq(pop & is_b),
            in_order.eq(~records | (free & ~channels.some)),
        ]
        take_head, take_row = buffer.fill(
            unit, head=in_order, row=~records | (free & buffer.has_parameters)
        )
        with m.If(take_b):
            m.d.sync += channels.step()
        for when, words, value in (
            (take_b & records, config.record_words, packed(b.payload)),
            (take_row & records, config.record_words, buffer.row),
            (take_head & records, tokens, Cat(_padded(v) for v in unit.i_head.payload)),
        ):
            with m.If(when):
                m.d.sync += [chunk.eq(value), *left.load(C(words))]


def _padded(parameters: Any) -> Value:
    return Cat(Value.cast(parameters), C(0, WORD_BITS - PARAMETERS))


class RecordedB:
    """B of the vectors of a record: as a store has it, for all of them.

    Attributes
    ----------
    words : list of Value
        By vector, the word at the address a cycle later.
    clearing : Signal
        A word that B does not reach is cleared; no channel may come.
    """

    def __init__(
        self, m: Module, unit: Any, job: Job, *, put: Value, channel: Value, address: Value
    ) -> None:
        config: ArchConfig = unit.config
        last = Signal(9)
        m.d.sync += last.eq(unit.d_state - 1)
        row = RowWalk(m, config, put, last)
        self.clearing = row.clearing
        with m.If(job.start):
            m.d.sync += row.restart()
        vectors = [channel[n * RECORD_BITS :] for n in range(config.tokens)]
        self.words = [
            element_memory(
                m, f"recorded{n}", config, write=put, clear=row.clearing, word=row.word,
                place=row.place, q=v[:8], exp=v[8:RECORD_BITS], address=address,
            )
            for n, v in enumerate(vectors)
        ]  # fmt: skip


class RecordReader:
    """Take the record of an earlier pass: B into ``b``, heads into their buffer."""

    def __init__(self, m: Module, unit: Any, job: Job, buffer: HeadBuffer, address: Value) -> None:
        config: ArchConfig = unit.config
        tokens, words, i = config.tokens, config.record_words, unit.i_record
        channels = Countdown(16)
        vector = Signal(range(tokens))
        part = Signal(range(max(2, words)))
        lower = Signal((words - 1) * WORD_BITS, reset_less=True)  # words before this one
        taken, of_head, row, put = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(i.ready & i.valid),
            of_head.eq(taken & ~channels.some & ~buffer.has_parameters),
            row.eq(taken & (channels.some | buffer.has_parameters) & (part == words - 1)),
            put.eq(row & channels.some),
            buffer.set_parameters.eq(of_head << vector),
            buffer.all_set.eq(of_head & (vector == tokens - 1)),
            buffer.parameters.eq(i.payload[:PARAMETERS].replicate(tokens)),
            buffer.put_row.eq(row & ~channels.some),
            buffer.row.eq(Cat(lower, i.payload)),
        ]
        with m.If(of_head):
            m.d.sync += vector.eq(vector + 1)
        if words > 1:
            with m.If(taken & ~of_head):
                m.d.sync += [part.eq(part + 1), lower.eq(Cat(lower, i.payload) >> WORD_BITS)]
        with m.If(put):
            m.d.sync += channels.step()
        with m.If(job.start):
            m.d.sync += channels.load(unit.b_channels)
        recorded = RecordedB(
            m, unit, job, put=put, channel=buffer.row[: tokens * RECORD_BITS], address=address
        )
        self.b = recorded.words
        m.d.comb += i.ready.eq(
            job.active & unit.replays & (channels.some | buffer.open) & ~recorded.clearing
        )
