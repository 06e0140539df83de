"""Walks of what grows with its sequences and is spread over the lanes' channels, run by run.

A run is made of units: a row with a word of 64 bits for each of P positions, then the rows that
hold V further words of each of these positions, one after the other. A row has P words, a beat of
every channel, so a unit has V + 1 rows. A run lies in segments of some positions, which may be
anywhere.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import fifo, memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD, WORD_BITS
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.rtl.axi import COUNT_BITS, READ
from lightmamba.rtl.layouts import WORD as WORD_SHAPE
from lightmamba.rtl.layouts import i_stream, o_stream
from lightmamba.rtl.prefetch import LAYER_BITS, PENDING
from lightmamba.rtl.rows import beat_layout

__all__ = ["POSITION_BITS", "WORDS_BITS", "SpreadReads", "SpreadWrites"]

POSITION_BITS = 21
WORDS_BITS = 7  # of V
RUN_BITS = 6  # of the runs of a layer
PAGE_LOG2 = exact_log2(PAGE)


class _Place(Elaboratable):
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


class _Walk(wiring.Component):
    """Members that both walks have, and the passes that wait for their turn.

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
        Pulse: a segment begins so many pages of 4 KiB behind the channels' bases. Those of a slot
        are one behind the other, those of the next begin at a multiple of a power of two.
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

    def _passes(self, m: Module, ends: Value, stops: Value) -> tuple[Value, Array[Any]]:
        """Whether a pass is there until it ``ends``, and the positions of its slots."""
        m.submodules.pending = pending = fifo.SyncFIFO(width=POSITION_BITS, depth=PENDING)
        m.d.comb += [
            pending.w_en.eq(self.run & self.start & self.layers.any()),
            pending.w_data.eq(self.positions[0]),
            pending.r_en.eq(ends | stops),
        ]
        later = [self.positions[n] for n in range(1, self.slots)]
        return pending.r_rdy, Array([pending.r_data, *later])

    def _segment(self, m: Module, slot: Value, number: Value) -> Value:
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

    def _last(self, slot: Value) -> Value:
        """Whether no slot of the pass is behind this one; those of a pass are the first ones."""
        behind = [*(self.used[n] for n in range(1, self.slots)), 0]
        return ~Value.cast(Array(behind)[slot])


class SpreadReads(_Walk):
    """Ask for the rows of all positions that a pass finds: layer, run, slot, segment.

    A layer is read only when the same layer of the last pass has been written: each takes one of
    ``layers`` credits. One command every other cycle; ``latency`` cycles lie between a start and
    the first command of a pass of one slot, for V of one.

    Members
    -------
    written : In
        Pulse: the writes of a layer have been answered.
    o : Out(stream of READ)
        Rows, behind the channels' bases; nothing where nothing is there.
    """

    latency, interval = 6, 2

    written: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        super().__init__(config, {"written": In(1), "o": o_stream(READ)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.place = place = _Place(self.per_row)
        credit = Signal(LAYER_BITS + 1)  # less one: its highest bit says that there is none
        slot, last = Signal(range(max(2, self.slots))), Signal()
        layer, run, at = Signal(LAYER_BITS), Signal(RUN_BITS), Signal(ADDRESS_BITS)
        rows = Array(Signal(COUNT_BITS, name=f"rows{n}") for n in range(self.slots))  # the last's
        segment, of_slot = Signal(POSITION_BITS - self.of_segment), Signal()
        position = Signal(POSITION_BITS)  # the first that is not there
        goes, of_run, of_layer, ends, stops = (Signal() for _ in range(5))
        some, positions = self._passes(m, ends, stops)
        m.d.comb += [
            stops.eq(~self.run & ~self.o.valid),
            last.eq(self._last(slot)),
            position.eq(positions[slot]),
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_slot.eq(goes & (segment == position[self.of_segment :])),
            of_run.eq(of_slot & last),
            of_layer.eq(of_run & (run + 1 == self.runs)),
            ends.eq(of_layer & (layer + 1 == self.layers)),
        ]
        places = exact_log2(self.per_row)
        count = place.row + Mux(
            place.rest == 0, 0, 1 + ((place.word + (self.per_row - 1)) >> places)
        )
        command, base = self.o.payload, self._segment(m, slot, segment)
        whole = self.stride >> exact_log2(self.config.port_bits // 8)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [each.eq(0) for each in (slot, segment, layer, run, at)]
                with m.If(some & self.run):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.start.eq(1)
                m.next = "COUNT"
            with m.State("COUNT"):
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.d.sync += [rows[slot].eq(count), slot.eq(Mux(last, 0, slot + 1))]
                    with m.If(last):
                        m.next = "WALK"
                    with m.Else():
                        m.next = "PLACE"
            with m.State("WALK"):
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~credit[-1]):
                    full = segment != position[self.of_segment :]
                    m.d.sync += [
                        command.address.eq(base + at),
                        command.count.eq(Mux(full, whole, rows[slot])),
                    ]
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.o.valid.eq(command.count.any()),
                    goes.eq(self.o.ready | ~command.count.any()),
                ]
                with m.If(goes):  # what is offered stays so until it is taken
                    with m.If(ends | ~self.run):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WALK"
        with m.If(goes):
            m.d.sync += segment.eq(Mux(of_slot, 0, segment + 1))
        with m.If(of_slot):
            m.d.sync += slot.eq(Mux(last, 0, slot + 1))
        with m.If(of_run):
            m.d.sync += [run.eq(Mux(of_layer, 0, run + 1)), at.eq(at + self.stride)]
        with m.If(of_layer):
            m.d.sync += layer.eq(layer + 1)
        with m.If(self.run):
            m.d.sync += credit.eq(credit + self.written - of_layer)
        with m.Else():
            m.d.sync += credit.eq(self.layers - 1)
        return m


class SpreadWrites(_Walk):
    """Place the words of new positions: layer, slot, position, run; of a run one word, then V.

    A word a cycle, and some ten cycles for each position; ``latency`` cycles from the word that
    completes a beat to the beat. What is before or behind the words of a position in a beat keeps
    its bytes.

    Members
    -------
    more : In per slot
        Positions that a pass adds.
    i : In(stream of u64)
    o : Out(stream of beat_layout)
        ``last`` with the last beat of a layer.
    """

    latency, interval = 1, 1

    more: Any
    i: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        layout = beat_layout(config.row_lanes, config.port_bits)
        super().__init__(
            config,
            {
                "more": In(config.tokens.bit_length()).array(config.tokens),
                "i": i_stream(WORD_SHAPE),
                "o": o_stream(layout),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.place = place = _Place(self.per_row)
        places, of_beat = exact_log2(self.per_row), exact_log2(self.config.port_bits // WORD_BITS)
        slot, added = Signal(range(max(2, self.slots))), Signal(self.config.tokens.bit_length())
        layer, run = Signal(LAYER_BITS), Signal(RUN_BITS)
        at, of_layer_at = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)  # of a run; a layer's first
        word, first = Signal(COUNT_BITS + places), Signal.like(place.word)
        left = Signal(WORDS_BITS)  # words of the run behind this one
        position = Signal(POSITION_BITS)
        take, of_run, of_position, of_slot, of_layer, ends = (Signal() for _ in range(6))
        stops = ~self.run
        some, positions = self._passes(m, ends, stops)
        m.d.comb += [
            position.eq(positions[slot] + added),
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_run.eq(take & (left == 0)),
            of_position.eq(of_run & (run + 1 == self.runs)),
            of_slot.eq(of_position & (added + 1 == Array(self.more)[slot])),
            of_layer.eq(of_slot & self._last(slot)),
            ends.eq(of_layer & (layer + 1 == self.layers)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [each.eq(0) for each in (slot, added, layer, run, at, of_layer_at)]
                with m.If(some & self.run):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.start.eq(1)
                m.next = "PLACED"
            with m.State("PLACED"):
                with m.If(stops):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.d.sync += [
                        word.eq(Cat(place.rest, place.row)), first.eq(place.word),
                        left.eq(self.words),
                    ]  # fmt: skip
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [
                    self.i.ready.eq(~self.o.valid | self.o.ready),
                    take.eq(self.i.valid & self.i.ready),
                ]
                with m.If(take):
                    values = ((place.row + 1) << places) + first
                    header = left == self.words
                    m.d.sync += [word.eq(Mux(header, values, word + 1)), left.eq(left - 1)]
                with m.If(of_run):
                    m.d.sync += [
                        word.eq(Cat(place.rest, place.row)), left.eq(self.words),
                        run.eq(Mux(of_position, 0, run + 1)), at.eq(at + self.stride),
                    ]  # fmt: skip
                with m.If(of_position):
                    m.d.sync += [
                        at.eq(Mux(of_layer, at + self.stride, of_layer_at)),
                        added.eq(Mux(of_slot, 0, added + 1)),
                    ]
                    m.next = "PLACE"
                with m.If(ends | stops):
                    m.next = "IDLE"
                with m.If(of_slot):
                    m.d.sync += slot.eq(Mux(of_layer, 0, slot + 1))
                with m.If(of_layer):
                    m.d.sync += [of_layer_at.eq(at + self.stride), layer.eq(layer + 1)]

        base = self._segment(m, slot, position[self.of_segment :])
        # Words of a beat gather where it waits to be taken.
        o, in_beat, fresh = self.o.payload, word[:of_beat], Signal(init=1)
        full = (left == self.words) | (left == 0) | in_beat.all()
        strobe = Cat((in_beat == n).replicate(WORD) for n in range(1 << of_beat))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += [
                self.o.valid.eq(full),
                fresh.eq(full),
                o.address.eq(
                    base + at + (word[places:] << exact_log2(self.config.port_bits // 8))
                ),
                o.channel.eq(word[of_beat:places]),
                o.strobe.eq(strobe | Mux(fresh, 0, o.strobe)),
                o.last.eq(of_layer),
            ]  # fmt: skip
            for n in range(1 << of_beat):
                with m.If(in_beat == n):
                    m.d.sync += o.value.word_select(n, WORD_BITS).eq(self.i.payload)
        return m
