"""The half of the SDRAM controller that speaks to the chip, in the clock domain ``sdram``."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.hardware.rtl.layouts import i_stream
from lightmamba.hardware.soc.sdram_layouts import BANK_BITS, ROW_BITS, SdramShape, pins
from lightmamba.hardware.soc.sdram_timing import ULX3S, SdramTiming

__all__ = ["SdramScheduler"]

# Commands of the chip: RAS#, CAS# and WE#, from the high bit down.
NOTHING, READ, WRITE, ACTIVE, PRECHARGE, REFRESH, MODE = 7, 5, 4, 3, 2, 1, 0
ALL_BANKS = 1 << 10  # of the address of a PRECHARGE
FIRST_REFRESHES = 8  # during initialization: Micron and ISSI ask for 2, others for 8
CAPTURES = 4  # values of `capture`
LATE = 128  # cycles: a refresh waits for a chunk (64 cycles) and for the rows to close


class SdramScheduler(wiring.Component):
    """Turn chunks into commands of the chip, in order.

    The chip is initialized first. Each bank keeps its row open until another one is needed or a
    refresh comes; while a chunk streams, the next one's row is made ready in another bank. A
    refresh waits for the chunk that streams, at most.

    A beat takes as many cycles as it has words (``interval``), a whole chunk 64. The next chunk
    follows without a gap if its row is open, or if it is in another bank and the chunk that streams
    is long enough to open it meanwhile. Another row of the same bank adds tRP + tRCD, and CL - 2
    cycles after a read or tWR - 1 after a write. A write after a read adds CL + 1 cycles, in which
    the data lines rest. ``latency`` cycles lie between the transfer of a chunk and READ or WRITE at
    the pins, if the row is open, and ``read_latency(capture)`` from the transfer to the first beat.

    Parameters
    ----------
    bits : int
        Of a beat: 32 or 64.
    mhz : float
        Clock of the domain ``sdram`` and of the chip. CAS latency is 2 up to 100 MHz, else 3.
    timing : SdramTiming
    pad_cycles : int
        Registers between the pins of this component and those of the device, both ways together:
        2, if the device's pins have registers of their own.

    Members
    -------
    command : In(stream of SdramShape.command)
        Chunks. All of a chunk's data to write are in ``write`` before it or soon after.
    write : In(stream of SdramShape.beat)
        A beat is used, and taken a cycle later.
    read_valid, read : Out
        Beats that were read; there is no way to stop them.
    capture : In
        Cycles, 0 to 3, by which data are taken later than CL cycles after READ is at the pins. Data
        are valid from 7.5 ns after the chip's clock edge until 2.5 ns after the next one, so that
        every chip of device/sim/sdram_chips.toml works. So at 100 MHz, 0 is right if the chip's
        clock is up to 2.5 ns behind ``sdram``, and 1 from 7.5 to 12.5 ns (10 ns: they rise
        together), with the delays of the pins both ways added; between them none is. Change it only
        while nothing is read.
    ready : Out
        The chip is initialized.
    pins : Out(pins())
    """

    latency = 4

    def __init__(
        self, bits: int, mhz: float, timing: SdramTiming = ULX3S, pad_cycles: int = 0
    ) -> None:
        self.shape = SdramShape(bits)
        self.cycles = timing.cycles(mhz, LATE)
        self.interval = self.shape.length
        self.pad_cycles = pad_cycles
        super().__init__(
            {
                "command": i_stream(self.shape.command),
                "write": i_stream(self.shape.beat),
                "read_valid": Out(1),
                "read": Out(bits),
                "capture": In(range(CAPTURES)),
                "ready": Out(1),
                "pins": Out(pins()),
            }
        )

    def read_latency(self, capture: int) -> int:
        """Cycles from the transfer of a chunk, whose row is open, to its first beat."""
        return self.latency + self.cycles.cas + capture + self.pad_cycles + self.shape.length

    def elaborate(self, platform: object) -> Module:
        m = Module()
        t, length = self.cycles, self.shape.length
        given, offered = self.command, self.command.payload

        # The chunk that streams, beat by beat, and the one after it.
        active, current = Signal(), Signal(self.shape.command)
        phase, last = Signal(range(length)), Signal()  # cycle of a beat; it is the chunk's last one
        have, following = Signal(), Signal(self.shape.command)
        closed, other = Signal(), Signal()  # its row is not open; another row of its bank is
        # Neither a new chunk nor a row while a refresh is due, nor before the first one.
        due = Signal(init=1)

        # What is done in this cycle.
        at_column, column = Signal(), Signal()
        finish, start, precharge, activate = Signal(), Signal(), Signal(), Signal()
        close_all, refresh, load_mode = Signal(), Signal(), Signal()
        read, write = column & ~current.write, column & current.write

        unsettled = _after(m, "row_opens", activate, max(1, t.rcd - 1))  # `start` is a cycle ahead
        young = _after(m, "row_is_young", activate, t.ras)
        crowded = _after(m, "rows_crowd", activate, t.rrd)
        closing = _after(m, "row_closes", precharge, t.rp)
        recovering = _after(m, "written", finish & current.write, t.wr) | _after(
            m, "was_read", finish & ~current.write, t.cas - 1
        )
        driven = _after(m, "chip_drives", read, t.cas + length)  # `start` is a cycle ahead here too
        can_close = ~young & ~recovering

        m.d.comb += [
            at_column.eq(active & (phase == 0)),
            column.eq(at_column & (~current.write | self.write.valid)),
            finish.eq(active & (phase == length - 1) & last),
            start.eq(
                have & ~closed & ~unsettled & ~due & (~active | finish)
                & ~(following.write & driven)
            ),
            precharge.eq(
                have & other & ~due & ~at_column & can_close
                & ~(active & (current.place.bank == following.place.bank))
            ),
            activate.eq(have & closed & ~other & ~due & ~at_column & ~closing & ~crowded),
        ]  # fmt: skip

        # A beat is taken from `write` a cycle after its use, so that `ready` is a register.
        m.d.sdram += self.write.ready.eq(write)
        with m.If(column | (phase != 0)):
            m.d.sdram += phase.eq(phase + 1)
        with m.If(start):
            m.d.sdram += [active.eq(1), current.eq(following), last.eq(following.more == 0)]
        with m.Elif(finish):
            m.d.sdram += active.eq(0)
        with m.Elif(phase == length - 1):
            m.d.sdram += [
                current.place.beat.eq(current.place.beat + 1),
                current.more.eq(current.more - 1),
                last.eq(current.more == 1),
            ]

        # Open rows.
        opened = Signal(1 << BANK_BITS)
        m.submodules.rows = rows = memory.Memory(shape=ROW_BITS, depth=1 << BANK_BITS, init=[])
        keep, look = rows.write_port(domain="sdram"), rows.read_port(domain="comb")
        m.d.comb += [
            keep.addr.eq(following.place.bank),
            keep.data.eq(following.place.row),
            keep.en.eq(activate),
            look.addr.eq(offered.place.bank),
            given.ready.eq(~have & ~due),
        ]
        with m.If(given.valid & given.ready):
            is_open = opened.bit_select(offered.place.bank, 1)
            same = look.data == offered.place.row
            m.d.sdram += [
                have.eq(1),
                following.eq(offered),
                closed.eq(~is_open | ~same),
                other.eq(is_open & ~same),
            ]
        with m.Elif(start):
            m.d.sdram += have.eq(0)
        with m.If(precharge):
            m.d.sdram += other.eq(0)
        with m.If(activate):
            m.d.sdram += [closed.eq(0), opened.bit_select(following.place.bank, 1).eq(1)]
        with m.If(close_all):
            m.d.sdram += [opened.eq(0), closed.eq(1), other.eq(0)]

        self._refresh(m, due, close_all, refresh, load_mode, ~active & can_close)
        done = (read, write, activate, precharge | close_all, refresh, load_mode)
        self._commands(m, done, close_all, current.place, following.place)
        self._data(m, read, write)
        return m

    def _refresh(
        self, m: Module, due: Signal, close_all: Signal, refresh: Signal, load_mode: Signal,
        idle: Value,
    ) -> None:  # fmt: skip
        """Initialization and refresh: close all banks, refresh, perhaps set the mode, go on."""
        t = self.cycles
        waits = Signal(range(-1, t.power_up), init=t.power_up - 1)
        over = waits[-1]  # it counts down to -1
        interval = Signal(range(-1, t.refresh), init=t.refresh - 2)
        left = Signal(range(FIRST_REFRESHES), init=FIRST_REFRESHES - 1)
        m.d.sdram += [
            waits.eq(waits - ~over),
            interval.eq(Mux(interval[-1], t.refresh - 2, interval - 1)),
        ]
        with m.FSM(domain="sdram"):
            with m.State("POWER UP"):
                m.d.comb += close_all.eq(over)
                with m.If(over):
                    m.d.sdram += waits.eq(t.rp - 2)
                    m.next = "REFRESH"
            with m.State("WORK"):
                m.d.comb += close_all.eq(due & idle)
                with m.If(close_all):
                    m.d.sdram += waits.eq(t.rp - 2)
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                m.d.comb += refresh.eq(over)
                with m.If(over):
                    m.d.sdram += [waits.eq(t.rfc - 2), left.eq(Mux(left == 0, 0, left - 1))]
                    with m.If((left == 0) & self.ready):
                        m.next = "END"
                    with m.Elif(left == 0):
                        m.next = "MODE"
            with m.State("MODE"):
                m.d.comb += load_mode.eq(over)
                with m.If(over):
                    m.d.sdram += waits.eq(t.mrd - 2)
                    m.next = "END"
            with m.State("END"), m.If(over):
                m.d.sdram += [self.ready.eq(1), due.eq(0)]
                m.next = "WORK"
        with m.If(interval[-1]):
            m.d.sdram += due.eq(1)

    def _commands(
        self, m: Module, done: tuple[Value, ...], close_all: Value, column: Value, row: Value
    ) -> None:
        """Two registers from what is done to the pins."""
        t, pins, length = self.cycles, self.pins, self.shape.length
        read, write, activate, _, _, load_mode = done
        code = Signal(3, init=NOTHING)
        bank, words = Signal(BANK_BITS), Signal(ROW_BITS)
        opens = Signal()
        codes = (READ, WRITE, ACTIVE, PRECHARGE, REFRESH, MODE)
        bits = [
            ~Cat(d for d, c in zip(done, codes, strict=True) if not c >> n & 1).any()
            for n in range(3)
        ]
        mode = exact_log2(length) | t.cas << 4
        m.d.sdram += [
            code.eq(Cat(bits)),
            opens.eq(activate),
            bank.eq(Mux(read | write, column.bank, Mux(load_mode, 0, row.bank))),
            words.eq(
                Mux(
                    read | write,
                    column.beat << exact_log2(length),
                    Mux(load_mode, mode, Mux(close_all, ALL_BANKS, 0)),
                )
            ),
            pins.cke.eq(1),
            pins.cs_n.eq(0),
            Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(code),
            pins.ba.eq(bank),
            pins.a.eq(Mux(opens, row.row, words)),
        ]

    def _data(self, m: Module, read: Value, write: Value) -> None:
        """Beats to words, in step with the commands, and words to beats."""
        pins, bits, length = self.pins, self.shape.bits, self.shape.length
        words, strobes = Signal(bits), Signal(bits // 8)
        drive = _after(m, "drive", write, length + 1)
        m.d.sdram += [
            words.eq(Mux(write, self.write.payload.data, words >> 16)),
            strobes.eq(Mux(write, self.write.payload.strobe, Cat(strobes[2:], Const(3, 2)))),
            pins.dq_o.eq(words[:16]),
            pins.dq_oe.eq(drive),
            pins.dqm.eq(~(strobes[:2] & self.ready.replicate(2))),
        ]
        nearest = self.cycles.cas + self.pad_cycles + length
        underway, taken = Signal(nearest + CAPTURES), Signal(16)
        m.d.sdram += [
            underway.eq(Cat(read, underway)),
            taken.eq(pins.dq_i),
            self.read.eq(Cat(self.read[16:], taken)),
            self.read_valid.eq(underway[nearest:].bit_select(self.capture, 1)),
        ]


def _after(m: Module, name: str, event: Value, cycles: int) -> Value:
    """Value that is 1 from the cycle after an event until ``cycles`` - 1 cycles after it."""
    if cycles < 2:
        return Const(0, 1)
    left = Signal(cycles - 1, name=name)
    m.d.sdram += left.eq(Mux(event, -1, left >> 1))
    return left[0]
