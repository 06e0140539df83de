"""The SDRAM controller keeps every rule of the chip, whatever it is asked for and when.

Rules are those of a data sheet, as conditions on the chip's pins, in cycles of its clock. Chunks
have two beats here, rows and columns few bits, and the long times are short: the numbers of the
chips are compared in tests/soc. The unit's clock domain is the proof's.
"""

from collections.abc import Sequence
from dataclasses import replace

from amaranth.hdl import Array, Cat, DomainRenamer, Mux, Signal, Value
from amaranth.utils import exact_log2

from lightmamba.hardware.soc import sdram_layouts, sdram_scheduler
from lightmamba.hardware.soc.sdram_layouts import BANK_BITS, WORD_BITS
from lightmamba.hardware.soc.sdram_scheduler import (
    ACTIVE,
    MODE,
    NOTHING,
    PRECHARGE,
    READ,
    REFRESH,
    WRITE,
    SdramScheduler,
)

from .proving import Patches, Proof, proved, small

BANKS = 1 << BANK_BITS
BEATS = 2  # of a chunk
COLUMN_BITS, ROW_BITS = 3, 4  # a column and the bit above it
FIRST_REFRESHES = 2
SMALL = {
    sdram_layouts: {"COLUMN_BITS": COLUMN_BITS, "ROW_BITS": ROW_BITS},
    sdram_scheduler: {
        "ROW_BITS": ROW_BITS,
        "ALL_BANKS": 1 << COLUMN_BITS,
        "FIRST_REFRESHES": FIRST_REFRESHES,
    },
}
INTERVAL, POWER_UP = 32, 12  # cycles, in place of hundreds and thousands


def with_chunks(bits: int) -> Patches:
    """The constants, with a chunk of that many beats."""
    return {**SMALL, sdram_layouts: {**SMALL[sdram_layouts], "CHUNK_BYTES": BEATS * bits // 8}}


def any_of(values: Sequence[Value]) -> Value:
    """Whether one of some conditions holds."""
    return Cat(*values).any()


class Chip:
    """Commands at the pins, and for how long they forbid others."""

    def __init__(self, proof: Proof, dut: SdramScheduler) -> None:
        self.proof, pins = proof, dut.pins
        code = Cat(pins.we_n, pins.cas_n, pins.ras_n)
        given = pins.cke & ~pins.cs_n
        self.read, self.write, self.active, self.refresh, self.mode = (
            given & (code == each) for each in (READ, WRITE, ACTIVE, REFRESH, MODE)
        )
        self.whole = pins.a[COLUMN_BITS]  # of a PRECHARGE: all banks
        self.precharge = given & (code == PRECHARGE)
        self.any = given & (code != NOTHING)
        self.rows = Array(Signal(ROW_BITS, name=f"row{n}") for n in range(BANKS))
        self.opened = Signal(BANKS)
        self.mine = [pins.ba == n for n in range(BANKS)]
        self.closes = [self.precharge & (self.whole | mine) for mine in self.mine]
        m = proof.m
        for n, (mine, closes) in enumerate(zip(self.mine, self.closes, strict=True)):
            with m.If(self.active & mine):
                m.d.sync += [self.opened[n].eq(1), self.rows[n].eq(pins.a)]
            with m.Elif(closes):
                m.d.sync += self.opened[n].eq(0)

    def before(self, event: Value, cycles: int) -> list[Value]:
        """Whether an event was 1, 2, ... ``cycles`` cycles ago."""
        kept = Signal(max(1, cycles), name="before")
        self.proof.m.d.sync += kept.eq(Cat(event, kept)[: len(kept)])
        return [kept[n] for n in range(cycles)]

    def apart(self, event: Value, later: Value, cycles: int) -> Value:
        """Whether an event is at least ``cycles`` cycles after another one."""
        return ~(later & any_of(self.before(event, cycles - 1)))

    def apart_in_banks(self, events: Sequence[Value], later: Sequence[Value], n: int) -> Value:
        """Whether that holds in each bank."""
        pairs = zip(events, later, strict=True)
        return ~any_of([~self.apart(event, next_, n) for event, next_ in pairs])


def scheduler(bits: int, mhz: float) -> Proof:
    dut = SdramScheduler(bits, mhz)
    dut.cycles = t = replace(dut.cycles, refresh=INTERVAL, power_up=POWER_UP)
    length = dut.shape.length
    proof = Proof(DomainRenamer({"sdram": "sync"})(dut))
    m, pins, chip = proof.m, dut.pins, Chip(proof, dut)
    proof.drive(pins.dq_i, dut.capture)
    commanded = proof.give("a chunk", dut.command)
    used = proof.give("data to write", dut.write)

    mine = chip.mine
    opens, reads, writes = (
        [event & bank for bank in mine] for event in (chip.active, chip.read, chip.write)
    )
    columns = [read | write for read, write in zip(reads, writes, strict=True)]
    column = chip.read | chip.write
    is_open = chip.opened.bit_select(pins.ba, 1)

    rule = proof.always
    rule("a row opens in a closed bank", ~chip.active | ~is_open)
    rule("a column is of an open row", ~column | is_open)
    rule("tRCD", chip.apart_in_banks(opens, columns, t.rcd))
    rule("tRP", chip.apart_in_banks(chip.closes, opens, t.rp))
    rule("tRAS", chip.apart_in_banks(opens, chip.closes, t.ras))
    rule("tRC", chip.apart_in_banks(opens, opens, t.ras + t.rp))
    rule("tRRD", chip.apart(chip.active, chip.active, t.rrd))
    rule("tWR", chip.apart_in_banks(writes, chip.closes, length - 1 + t.wr))
    rule("a row stays open while it is read", chip.apart_in_banks(reads, chip.closes, length))
    rule("a burst is not cut", chip.apart(column, column, length))
    rule("all banks are closed for a refresh", ~chip.refresh | ~chip.opened.any())
    rule("tRP before a refresh", chip.apart(chip.precharge, chip.refresh | chip.mode, t.rp))
    rule("tRFC", chip.apart(chip.refresh, chip.any, t.rfc))
    rule("tMRD", chip.apart(chip.mode, chip.any, t.mrd))

    # The first commands: all banks closed, refreshes, the mode; then work.
    age, refreshes = Signal(range(POWER_UP + 1)), Signal(range(FIRST_REFRESHES + 1))
    closed, set_up = Signal(), Signal()
    m.d.sync += [
        age.eq(age + (age != POWER_UP)),
        closed.eq(closed | (chip.precharge & chip.whole)),
        refreshes.eq(refreshes + (chip.refresh & (refreshes != FIRST_REFRESHES))),
        set_up.eq(set_up | chip.mode),
    ]
    rule("no command before the chip has power", ~chip.any | (age == POWER_UP))
    rule("all banks are closed first", ~(chip.any & ~chip.precharge) | closed)
    rule("refreshes before the mode", ~chip.mode | (refreshes == FIRST_REFRESHES))
    rule("the mode before work", ~(chip.active | column | dut.ready) | set_up)
    mode = exact_log2(length) | t.cas << 4
    rule("the mode is set once, to this", ~chip.mode | (~set_up & (pins.a == mode % 2**ROW_BITS)))

    # Data lines: the chip's after a read and a cycle of rest, the controller's in a write only.
    drives = chip.write | any_of(chip.before(chip.write, length - 1))
    rule("data lines are driven in a write only", pins.dq_oe == drives)
    rule(
        "data lines rest after a read",
        ~(pins.dq_oe & any_of(chip.before(chip.read, t.cas + length))),
    )
    # A mask is of the word two cycles later.
    masking = [chip.read, *chip.before(chip.read, t.cas - 2 + length - 1)][t.cas - 2 :]
    rule("data read are not masked", ~any_of(masking) | ~pins.dqm.any())

    # What is asked for is done, once, in order: one chunk is followed by the beats ahead of it.
    payload = dut.command.payload
    level, ahead = Signal(4), Signal(4)  # beats that are to come at the pins
    follows, gone, kept = Signal(), Signal(), Signal(dut.shape.command)
    beats = Mux(commanded, payload.more + 1, 0)
    m.d.sync += level.eq(level + beats - column)
    begin = commanded & ~follows & proof.any()
    mine_now = follows & ~gone & column & (ahead == 0)
    with m.If(begin):
        m.d.sync += [follows.eq(1), ahead.eq(level - column), kept.eq(payload)]
    with m.Elif(mine_now):
        m.d.sync += [
            gone.eq(kept.more == 0),
            kept.more.eq(kept.more - 1),
            kept.place.beat.eq(kept.place.beat + 1),
        ]
    with m.Elif(follows & ~gone & column):
        m.d.sync += ahead.eq(ahead - 1)
    place = kept.place
    for name, right in {
        "reads read and writes write": chip.write == kept.write,
        "a beat is in its bank": pins.ba == place.bank,
        "a beat is in its column": pins.a == place.beat << exact_log2(length),
    }.items():
        rule(name, ~mine_now | right)
    for bank in range(BANKS if bits == 32 else 0):  # they have one memory, whatever a beat's size
        for n in range(ROW_BITS):
            right = ~(mine_now & (place.bank == bank)) | (chip.rows[bank][n] == place.row[n])
            rule(f"a beat is in its row, bank {bank}, bit {n}", right)
    rule("no beat that was not asked for", ~column | level.any())
    rule("at most two chunks are here", level <= 2 * BEATS)

    # A beat to write is at the pins in the cycle after it is taken, its lowest word first.
    first = proof.last(used)
    rule("a beat to write is taken with its command", chip.write == first)
    data, strobe = proof.last(dut.write.payload.data), proof.last(dut.write.payload.strobe)
    words, bytes_ = Signal.like(data), Signal.like(strobe)  # of the beat at the pins
    later, later_strobe = Signal.like(data), Signal.like(strobe)
    m.d.comb += [words.eq(Mux(first, data, later)), bytes_.eq(Mux(first, strobe, later_strobe))]
    m.d.sync += [later.eq(words >> WORD_BITS), later_strobe.eq(bytes_ >> WORD_BITS // 8)]
    lines = (pins.dq_o == words[:WORD_BITS]) & (pins.dqm == ~bytes_[: WORD_BITS // 8])
    rule("words and strobes are those of the beat", ~drives | lines)

    # Data come a fixed time after their command.
    nearest = t.cas + length
    back = chip.before(chip.read, nearest + 3)[nearest - 1 :]
    rule("data are there when they come", dut.read_valid == Array(back)[proof.last(dut.capture)])
    came = [proof.last(pins.dq_i)]
    for _ in range(length):
        came.append(proof.last(came[-1]))
    rule("words are those of the lines", dut.read == Cat(*came[length:0:-1]))

    # With data to write at hand, a refresh waits for a chunk and for its row to close.
    late = BEATS * length + t.wr + t.ras + t.rp + 4
    since = Signal(range(INTERVAL + late + 2))
    missing = Signal()  # data to write, once
    m.d.sync += [
        missing.eq(missing | ~dut.write.valid),
        since.eq(Mux(chip.refresh, 0, since + (since <= INTERVAL + late))),
    ]
    rule("a refresh comes in time", ~set_up | missing | (since <= INTERVAL + late))
    return proof


MADE = {
    f"SDRAM, {bits} bits, {mhz} MHz": small(with_chunks(bits), scheduler, bits, mhz)
    for bits, mhz in ((32, 100), (64, 100), (64, 133))
}


test_is_proved = proved(MADE, in_ci=False)  # 25 minutes
