"""Walks of what grows with its sequences and is spread over the lanes' channels, run by run.

A run is made of units: a row with a word of 64 bits for each of P positions, then the rows that
hold V further words of each of these positions, one after the other. A row has P words, a beat of
every channel, so a unit has V + 1 rows. A run lies in segments of some positions, which may be
anywhere.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal, Value, unsigned
from amaranth.lib import fifo, memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS
from lightmamba.hardware.rtl.memory.prefetch import LAYER_BITS, PENDING

__all__ = ["POSITION_BITS", "RUN_BITS", "WORDS_BITS", "Place", "SpreadWalk"]

POSITION_BITS = 21
WORDS_BITS = 7  # of V
RUN_BITS = 6  # of the runs of a layer
PAGE_LOG2 = exact_log2(PAGE)


class Place(Elaboratable):
    """Place of a position in a run, some cycles after ``start``.

    Attributes
    ----------
    start : Signal
    position, words : Signal
        Stable while ``busy``; ``words`` are V.
    busy : Signal
    row, word, rest : Signal
        Rows in front of its unit, words of values in front of its own there, and positions.
    """

    def __init__(self, per_row: int) -> None:
        self.places = exact_log2(per_row)
        self.start, self.busy = Signal(), Signal()
        self.position, self.words = Signal(POSITION_BITS), Signal(WORDS_BITS)
        self.row = Signal(COUNT_BITS)
        self.word = Signal(self.places + WORDS_BITS)
        self.rest = Signal(self.places)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit, rest = self.position[self.places :], self.position[: self.places]
        left = Signal(WORDS_BITS)
        rows, words = Signal.like(self.row), Signal.like(self.word)  # times a power of two
        m.d.comb += self.busy.eq(left.any())
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.words), rows.eq(unit), words.eq(rest),
                self.row.eq(unit), self.word.eq(0), self.rest.eq(rest),
            ]  # fmt: skip
        with m.Elif(self.busy):
            m.d.sync += [left.eq(left >> 1), rows.eq(rows << 1), words.eq(words << 1)]
            with m.If(left[0]):
                m.d.sync += [self.row.eq(self.row + rows), self.word.eq(self.word + words)]
        return m


class SpreadWalk(wiring.Component):
    """Members that reads and writes have, and the passes that wait for their turn.

    Members
    -------
    run : In
        While 0, passes are forgotten; it falls only between tokens.
    start : In
        Pulse: a pass starts.
    layers, runs, words : In
        Layers, runs of each, and V.
    stride : In(u32)
        Bytes from one run to the next, in each channel.
    table_write, table_index, table_data : In
        Pulse: the entry at this index gets where a segment begins behind the channels' bases, in
        pages of 4 KiB. A slot has as many entries as the next power of two of its segments.
    used, positions : In per slot
        Slots of a pass, and the positions that they have. Those of the first slot are taken with
        ``start``; all else stays as it is while ``run`` is 1.
    """

    run: Any
    start: Any
    layers: Any
    runs: Any
    words: Any
    stride: Any
    table_write: Any
    table_index: Any
    table_data: Any
    used: Any
    positions: Any

    def __init__(self, config: ArchConfig, members: dict[str, Any]) -> None:
        self.config, self.slots = config, config.tokens
        self.per_row, self.of_segment = config.row_bytes // WORD, exact_log2(config.segment)
        self.entries = (config.segments - 1).bit_length()  # bits of a segment's number
        super().__init__(
            {
                "run": In(1),
                "start": In(1),
                "layers": In(LAYER_BITS),
                "runs": In(RUN_BITS),
                "words": In(WORDS_BITS),
                "stride": In(COUNT_BITS),
                "table_write": In(1),
                "table_index": In(32),
                "table_data": In(32),
                "used": In(1).array(self.slots),
                "positions": In(POSITION_BITS).array(self.slots),
            }
            | members
        )

    def passes(self, m: Module, ends: Value, stops: Value) -> tuple[Value, Array[Any]]:
        """Whether a pass is there until it ``ends``, and the positions of its slots."""
        m.submodules.pending = pending = fifo.SyncFIFO(width=POSITION_BITS, depth=PENDING)
        m.d.comb += [
            pending.w_en.eq(self.run & self.start & self.layers.any()),
            pending.w_data.eq(self.positions[0]),
            pending.r_en.eq(ends | stops),
        ]
        later = [self.positions[n] for n in range(1, self.slots)]
        return pending.r_rdy, Array([pending.r_data, *later])

    def segment(self, m: Module, slot: Value, number: Value) -> Value:
        """Address of a slot's segment behind the channels' bases."""
        m.submodules.table = table = memory.Memory(
            shape=unsigned(ADDRESS_BITS - PAGE_LOG2), init=[],
            depth=max(2, (1 << self.entries) * self.slots),
        )  # fmt: skip
        enter, read = table.write_port(), table.read_port(domain="comb")
        m.d.comb += [
            enter.addr.eq(self.table_index),
            enter.data.eq(self.table_data),
            enter.en.eq(self.table_write),
            read.addr.eq(Cat(number[: self.entries], slot)),
        ]
        return read.data << PAGE_LOG2

    def is_last(self, slot: Value) -> Value:
        """Whether no slot of the pass is after this one; those of a pass are the first ones."""
        behind = [*(self.used[n] for n in range(1, self.slots)), 0]
        return ~Value.cast(Array(behind)[slot])
