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
from lightmamba.rtl.job import Countdown
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
    ``layers`` credits. One command every third cycle; ``latency`` cycles lie between a start and
    the first command of a pass of one slot, for V of one.

    Members
    -------
    written : In
        Pulse: the writes of a layer have been answered.
    o : Out(stream of READ)
        Rows, behind the channels' bases; nothing where nothing is there.
    """

    latency, interval = 8, 3

    written: Any
    o: Any

    def __init__(self, config: ArchConfig) -> None:
        super().__init__(config, {"written": In(1), "o": o_stream(READ)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.place = place = _Place(self.per_row)
        credit = Signal(LAYER_BITS + 1)  # less one: its highest bit says that there is none
        slot, segment = Signal(range(max(2, self.slots))), Signal(POSITION_BITS - self.of_segment)
        layer, run, at = Signal(LAYER_BITS), Signal(RUN_BITS), Signal(ADDRESS_BITS)
        rows = Array(Signal(COUNT_BITS, name=f"rows{n}") for n in range(self.slots))  # the last's
        base, more = Signal(ADDRESS_BITS), Signal(COUNT_BITS)
        full, filled, nothing = Signal(), Signal(self.slots), Signal()  # segment; the last of each
        goes, of_slot, of_run, of_layer, ends, stops = (Signal() for _ in range(6))
        some, positions = self._passes(m, ends, stops)
        position = Signal(POSITION_BITS)  # the first that is not there
        last_slot, last_run, last_layer = Signal(), Signal(), Signal()
        m.d.comb += [
            stops.eq(~self.run & ~self.o.valid),
            position.eq(positions[slot]),
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_slot.eq(goes & ~full),
            of_run.eq(of_slot & last_slot),
            of_layer.eq(of_run & last_run),
            ends.eq(of_layer & last_layer),
        ]
        places, command = exact_log2(self.per_row), self.o.payload
        where = self._segment(m, slot, segment)
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
                used = 1 + ((place.word + (self.per_row - 1)) >> places)
                m.d.sync += more.eq(Mux(place.rest == 0, 0, used))
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.next = "COUNTED"
            with m.State("COUNTED"):
                m.d.sync += [
                    rows[slot].eq(place.row + more),
                    filled.bit_select(slot, 1).eq(place.position.any()),
                    slot.eq(Mux(self._last(slot), 0, slot + 1)),
                ]
                with m.If(self._last(slot)):
                    m.next = "WALK"
                with m.Else():
                    m.next = "PLACE"
            with m.State("WALK"):
                m.d.sync += [
                    base.eq(where),
                    full.eq(segment != position[self.of_segment :]),
                    last_slot.eq(self._last(slot)),
                    last_run.eq(run + 1 == self.runs),
                    last_layer.eq(layer + 1 == self.layers),
                ]
                with m.If(~self.run):
                    m.next = "IDLE"
                with m.Elif(~credit[-1]):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += [
                    command.address.eq(base + at),
                    command.count.eq(Mux(full, whole, rows[slot])),
                    nothing.eq(~full & ~filled.bit_select(slot, 1)),
                ]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.o.valid.eq(~nothing),
                    goes.eq(self.o.ready | nothing),
                ]
                with m.If(goes):  # what is offered stays so until it is taken
                    with m.If(ends | ~self.run):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WALK"
        with m.If(goes):
            m.d.sync += segment.eq(Mux(full, segment + 1, 0))
        with m.If(of_slot):
            m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
        with m.If(of_run):
            m.d.sync += [run.eq(Mux(last_run, 0, run + 1)), at.eq(at + self.stride)]
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
        # Of a run in a segment; of a layer's first run; of the run behind its channels' bases.
        at, of_layer_at, base = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        word, values = Signal(COUNT_BITS + places), Signal(COUNT_BITS + places)
        header, left = Signal(), Countdown(WORDS_BITS)  # words of the run, from this one on
        position, there, stops = Signal(POSITION_BITS), Signal(ADDRESS_BITS), ~self.run
        last_run, last_position, last_slot, last_layer = (Signal() for _ in range(4))
        take, of_run, of_position, of_slot, of_layer, ends = (Signal() for _ in range(6))
        some, positions = self._passes(m, ends, stops)
        m.d.comb += [
            place.position.eq(position[: self.of_segment]),
            place.words.eq(self.words),
            of_run.eq(take & ~header & left.last),
            of_position.eq(of_run & last_run),
            of_slot.eq(of_position & last_position),
            of_layer.eq(of_slot & last_slot),
            ends.eq(of_layer & last_layer),
        ]
        where = self._segment(m, slot, position[self.of_segment :])
        first = [word.eq(Cat(place.rest, place.row)), header.eq(1), *left.load(self.words)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [each.eq(0) for each in (slot, added, layer, run, at, of_layer_at)]
                with m.If(some & self.run):
                    m.next = "POSITION"
            with m.State("POSITION"):
                m.d.sync += position.eq(positions[slot] + added)
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += place.start.eq(1)
                m.d.sync += there.eq(where)
                m.next = "PLACED"
            with m.State("PLACED"):
                m.d.sync += [
                    *first,
                    values.eq(Cat(place.word[:places], place.row + place.word[places:] + 1)),
                    base.eq(there + at),
                    last_run.eq(self.runs == 1),
                    last_position.eq(added + 1 == Array(self.more)[slot]),
                    last_slot.eq(self._last(slot)),
                    last_layer.eq(layer + 1 == self.layers),
                ]
                with m.If(stops):
                    m.next = "IDLE"
                with m.Elif(~place.busy):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [
                    self.i.ready.eq(~self.o.valid | self.o.ready),
                    take.eq(self.i.valid & self.i.ready),
                ]
                with m.If(take):
                    m.d.sync += [word.eq(Mux(header, values, word + 1)), header.eq(0)]
                with m.If(take & ~header):
                    m.d.sync += left.step()
                with m.If(of_run):
                    m.d.sync += [
                        *first,
                        run.eq(Mux(last_run, 0, run + 1)),
                        last_run.eq(run + 2 == self.runs),
                        at.eq(at + self.stride),
                        base.eq(base + self.stride),
                    ]
                with m.If(of_position):
                    m.d.sync += [
                        at.eq(Mux(of_layer, at + self.stride, of_layer_at)),
                        added.eq(Mux(of_slot, 0, added + 1)),
                    ]
                    m.next = "POSITION"
                with m.If(of_slot):
                    m.d.sync += slot.eq(Mux(of_layer, 0, slot + 1))
                with m.If(of_layer):
                    m.d.sync += [of_layer_at.eq(at + self.stride), layer.eq(layer + 1)]
                with m.If(ends | stops):
                    m.next = "IDLE"

        # Words of a beat gather where it waits to be taken.
        o, in_beat, fresh = self.o.payload, word[:of_beat], Signal(init=1)
        full = header | left.last | in_beat.all()
        strobe = Cat((in_beat == n).replicate(WORD) for n in range(1 << of_beat))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += [
                self.o.valid.eq(full),
                fresh.eq(full),
                o.address.eq(base + (word[places:] << exact_log2(self.config.port_bits // 8))),
                o.channel.eq(word[of_beat:places]),
                o.strobe.eq(strobe | Mux(fresh, 0, o.strobe)),
                o.last.eq(of_layer),
            ]
            for n in range(1 << of_beat):
                with m.If(in_beat == n):
                    m.d.sync += o.value.word_select(n, WORD_BITS).eq(self.i.payload)
        return m
