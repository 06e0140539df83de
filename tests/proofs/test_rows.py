"""Rows over two channels: the rules of each, rows in order, and beats that are answered."""

from amaranth.hdl import Cat, Mux, Signal

from lightmamba.hardware.rtl.memory import axi, rows
from lightmamba.hardware.rtl.memory.rows import RowReader, RowWriter

from .proving import Proof, proved, small
from .test_memory import BITS, DEPTH, PAGE, SIZE, give_command, is_legal

CHANNELS = 2
BASES = (0x40, 0x80)  # multiples of a page
SMALL = {axi: {"PAGE": PAGE}, rows: {"OPEN_BEATS": 3}}


def row_reader() -> Proof:
    dut = RowReader(CHANNELS, BITS, DEPTH, 2)
    proof = Proof(dut)
    m = proof.m
    give_command(proof, dut.command)
    taken = proof.take("o", dut.o)
    owing, waiting = [], []
    for n, bus in enumerate(dut.axi):
        value, answers = proof.any(1), proof.any()
        owed = Signal(range(2 * DEPTH), name=f"owed{n}")
        asked, beats = bus.arvalid & bus.arready, bus.arlen + 1
        m.d.comb += [
            dut.base[n].eq(BASES[n]), bus.arready.eq(proof.any()), bus.rvalid.eq(answers),
            bus.rdata.eq(value),
        ]  # fmt: skip
        m.d.sync += owed.eq(owed + Mux(asked, beats, 0) - answers)
        proof.assume(~answers | owed.any())
        held = proof.held(bus.arvalid, bus.arready, bus.araddr, bus.arlen)
        proof.always(f"{n}: an address stays until it is taken", held)
        proof.always(
            f"{n}: a burst is within a page", ~bus.arvalid | is_legal(bus.araddr, beats, 2)
        )
        proof.always(f"{n}: every beat is taken at once", bus.rready)
        level = proof.in_order(
            answers, value, taken, dut.o.payload[n * BITS : n * BITS + 1], DEPTH, f"{n}", depth=16
        )
        proof.always(
            f"{n}: there is room for all that is asked for",
            owed + level + Mux(bus.arvalid, beats, 0) <= DEPTH,
        )
        owing.append(owed.any())
        waiting.append(level.any())
    under_way = Cat(*owing, *waiting).any()
    proof.always("drained only with nothing under way", ~dut.drained | ~under_way)
    proof.reaches("one channel is ahead", waiting[0] & ~waiting[1] & owing[1])
    return proof


def row_writer() -> Proof:
    dut = RowWriter(CHANNELS, BITS)
    proof = Proof(dut)
    m, beat = proof.m, dut.i.payload
    place, value, last = proof.any(2), proof.any(1), proof.any()
    channel = proof.any(1)
    m.d.comb += [
        dut.i.valid.eq(proof.any()), beat.address.eq(place << SIZE), beat.value.eq(value),
        beat.channel.eq(channel), beat.last.eq(last), beat.strobe.eq(1),
    ]  # fmt: skip
    proof.assume(proof.held(dut.i.valid, dut.i.ready, place, value, last, channel))
    given = dut.i.valid & dut.i.ready
    unanswered = []
    for n, bus in enumerate(dut.axi):
        m.d.comb += dut.base[n].eq(BASES[n])
        proof.drive(bus.awready, bus.wready)
        mine, answers = given & (channel == n), proof.any()
        asked, sent = bus.awvalid & bus.awready, bus.wvalid & bus.wready
        held = proof.held(bus.awvalid, bus.awready, bus.awaddr)
        proof.always(f"{n}: an address stays until it is taken", held)
        held = proof.held(bus.wvalid, bus.wready, bus.wdata)
        proof.always(f"{n}: a beat stays until it is taken", held)
        address = Cat(place, 0)
        proof.in_order(mine, address, asked, bus.awaddr[SIZE : SIZE + 3], 1, f"{n}: addresses")
        proof.in_order(mine, value, sent, bus.wdata[:1], 1, f"{n}: beats")
        proof.always(
            f"{n}: an address lies in its channel",
            ~bus.awvalid | (bus.awaddr >> (SIZE + 2) == BASES[n] >> (SIZE + 2)),
        )
        proof.always(f"{n}: a beat is a burst", ~bus.wvalid | (bus.wlast & ~bus.awlen.any()))
        proof.always(f"{n}: every response is taken at once", bus.bready)
        open_, addressed, written = (Signal(4, name=f"{k}{n}") for k in ("open", "at", "out"))
        m.d.comb += bus.bvalid.eq(answers)
        m.d.sync += [
            open_.eq(open_ + mine - answers),
            addressed.eq(addressed + asked - answers),
            written.eq(written + sent - answers),
        ]
        proof.assume(~answers | (addressed.any() & written.any()))
        unanswered.append(open_)
    none = ~Cat(*unanswered).any()
    proof.always("done when all is answered", ~dut.done | none)
    owed = Signal()  # a last beat that was not reported as done
    m.d.sync += owed.eq(Mux(given & last, 1, owed & ~dut.done))
    proof.always("a last beat is done once", ~dut.done | owed)
    proof.always("nothing follows a last beat before it is done", ~given | ~owed)
    proof.always("busy until all is answered", dut.busy | none)
    proof.reaches("as many as may be are unanswered", unanswered[0] + unanswered[1] == 3)
    return proof


MADE = {"row reader": small(SMALL, row_reader), "row writer": small(SMALL, row_writer)}


test_is_proved = proved(MADE)
