"""Memory clients: AXI rules, requests within their command, queues that never overflow.

Pages have 16 bytes here, a beat 2, and queues hold a few, so that full ones are reached.
"""

from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from lightmamba.hardware.rtl.memory import axi
from lightmamba.hardware.rtl.memory import writer as writers
from lightmamba.hardware.rtl.memory.arbiter import ReadArbiter, WriteArbiter
from lightmamba.hardware.rtl.memory.axi import Bursts
from lightmamba.hardware.rtl.memory.reader import Reader
from lightmamba.hardware.rtl.memory.writer import Writer

from .proving import Proof, proved, small

PAGE, BITS, SIZE = 16, 16, 1  # bytes; bits of a beat, and log2 of its bytes
BEATS = PAGE >> SIZE
SMALL = {axi: {"PAGE": PAGE}, writers: {"OUTSTANDING": 2, "AHEAD": 2}}


def give_command(proof: Proof, command: Any) -> tuple[Value, Value, Value]:
    """Give commands of up to 15 beats; whether one is taken, its first beat, and its count."""
    place, count = proof.any(5), proof.any(4)
    proof.m.d.comb += [
        command.valid.eq(proof.any()),
        command.payload.address.eq(place << SIZE),
        command.payload.count.eq(count),
    ]
    proof.assume(proof.held(command.valid, command.ready, place, count))
    return command.valid & command.ready, place, count


def is_legal(address: Value, beats: Value, most: int) -> Value:
    """Whether a burst has some beats, not too many, and all of them in one page."""
    place = address[SIZE : SIZE + BEATS.bit_length() - 1]
    aligned = ~address[:SIZE].any()
    return (beats != 0) & (beats <= most) & (place + beats <= BEATS) & aligned


def bursts() -> Proof:
    dut = Bursts(BITS, 3)
    proof = Proof(dut)
    m = proof.m
    given, place, count = give_command(proof, dut.command)
    taken = proof.take("o", dut.o)
    burst = dut.o.payload
    proof.always("a burst is within a page", ~dut.o.valid | is_legal(burst.address, burst.beats, 3))
    # Commands whose bursts are to come: the one whose burst is taken next, and one behind it.
    at, left, at2, left2 = Signal(8), Signal(5), Signal(8), Signal(5)
    rest = Mux(taken, left - burst.beats, left)[:5]
    here = given & (count != 0)
    m.d.sync += [at.eq(at + Mux(taken, burst.beats, 0)), left.eq(rest)]
    with m.If(rest == 0):
        m.d.sync += [at.eq(at2), left.eq(left2), left2.eq(0)]
        with m.If((left2 == 0) & here):
            m.d.sync += [at.eq(place), left.eq(count)]
        with m.Elif(here):
            m.d.sync += [at2.eq(place), left2.eq(count)]
    with m.Elif(here):
        m.d.sync += [at2.eq(place), left2.eq(count)]
    proof.always("a command waits behind one other at most", ~(here & (left2 != 0) & (rest != 0)))
    proof.always("bursts follow each other", ~dut.o.valid | (burst.address >> SIZE == at))
    proof.always("no burst goes beyond its command", ~dut.o.valid | (burst.beats <= left))
    proof.always(
        "the last burst of a command is marked",
        ~dut.o.valid | (burst.last == (burst.beats == left)),
    )
    proof.always("busy while bursts are to come", dut.busy | (left == 0))
    idle = Signal(3)
    m.d.sync += idle.eq(Mux(dut.busy & ~dut.o.valid, idle + (idle != 7), 0))
    proof.always("a burst comes within three cycles", idle <= 3)
    proof.reaches("a burst ends at the page", dut.o.valid & (burst.beats == 1) & ~burst.last)
    proof.reaches("two commands are under way", (left != 0) & (left2 != 0))
    return proof


DEPTH = 4


def reader() -> Proof:
    dut = Reader(BITS, DEPTH, 2)
    proof = Proof(dut)
    m, bus = proof.m, dut.axi
    give_command(proof, dut.command)
    value, answers = proof.any(2), proof.any()
    owed = Signal(range(2 * DEPTH))  # beats that memory has yet to send
    asked = bus.arvalid & bus.arready
    beats = bus.arlen + 1
    m.d.comb += [bus.arready.eq(proof.any()), bus.rdata.eq(value), bus.rvalid.eq(answers)]
    m.d.sync += owed.eq(owed + Mux(asked, beats, 0) - answers)
    proof.assume(~answers | owed.any())
    held = proof.held(bus.arvalid, bus.arready, bus.araddr, bus.arlen)
    proof.always("an address stays until it is taken", held)
    proof.always("a burst is within a page", ~bus.arvalid | is_legal(bus.araddr, beats, 2))
    proof.always("every beat is taken at once", bus.rready)
    taken = proof.take("o", dut.o)
    level = proof.in_order(answers, value, taken, dut.o.payload[:2], DEPTH)
    reserved = owed + level + Mux(bus.arvalid, beats, 0)
    proof.always("there is room for all that is asked for", reserved <= DEPTH)
    proof.always("drained only with nothing under way", ~dut.drained | ~(owed.any() | level.any()))
    proof.reaches("an address stalls", bus.arvalid & ~bus.arready)
    proof.reaches("all room is reserved", owed == DEPTH)
    return proof


def writer() -> Proof:
    dut = Writer(BITS, DEPTH, 2)
    proof = Proof(dut)
    m, bus = proof.m, dut.axi
    commanded, _, count = give_command(proof, dut.command)
    proof.assume(~dut.command.valid | (count != 0))
    value = proof.any(1)
    m.d.comb += [dut.i.payload.eq(value), dut.i.valid.eq(proof.any())]
    proof.assume(proof.held(dut.i.valid, dut.i.ready, value))
    given = dut.i.valid & dut.i.ready
    proof.drive(bus.awready, bus.wready)

    # Addresses.
    asked, beats = bus.awvalid & bus.awready, bus.awlen + 1
    held = proof.held(bus.awvalid, bus.awready, bus.awaddr, bus.awlen)
    proof.always("an address stays until it is taken", held)
    proof.always("a burst is within a page", ~bus.awvalid | is_legal(bus.awaddr, beats, 2))

    # Data.
    sent = bus.wvalid & bus.wready
    held = proof.held(bus.wvalid, bus.wready, bus.wdata, bus.wlast, bus.wstrb)
    proof.always("a beat stays until it is taken", held)
    proof.always("all bytes are written", bus.wstrb.all())
    level = proof.in_order(given, value, sent, bus.wdata[:1], DEPTH)
    # Beats of addresses that were offered and that have not gone. One comes with its address.
    new = bus.awvalid & (~proof.last(bus.awvalid) | proof.last(asked))
    claimed = Signal(range(4 * DEPTH))
    due = Signal.like(claimed)
    m.d.comb += due.eq(claimed + Mux(new, beats, 0))
    m.d.sync += claimed.eq(due - sent)
    proof.always("an address goes out when its burst is here", due <= level)
    proof.always("no beat goes without an address", ~bus.wvalid | due.any())

    # Responses: one for each burst, after its last beat.
    ended, answers = sent & bus.wlast, proof.any()
    unanswered, addressed = Signal(3), Signal(4, init=0)
    m.d.sync += [
        unanswered.eq(unanswered + ended - answers),
        addressed.eq(addressed + asked - answers),
    ]
    m.d.comb += bus.bvalid.eq(answers)
    proof.assume(~answers | (unanswered.any() & addressed.any()))
    proof.always("every response is taken at once", bus.bready)
    open_ = Signal(5)  # commands that are not done
    m.d.sync += open_.eq(open_ + commanded - dut.done)
    proof.always("a command is done once", ~dut.done | open_.any())
    proof.always("busy until all is done", dut.busy | ~open_.any())
    proof.reaches("two bursts are unanswered", unanswered == 2)
    proof.reaches("an address stalls", bus.awvalid & ~bus.awready)
    proof.reaches("a beat stalls", bus.wvalid & ~bus.wready)
    return proof


def read_arbiter() -> Proof:
    """Three clients: with two, the one that did not go last is always next."""
    dut = ReadArbiter(2, 3)
    proof = Proof(dut)
    m, o = proof.m, dut.o
    proof.drive(o.arready, o.rvalid, o.rdata)
    number = proof.any(2)
    m.d.comb += o.rid.eq(number)
    held = proof.held(o.arvalid, o.arready, o.araddr, o.arlen, o.arid)
    proof.always("an address stays until it is taken", held)
    for k in range(3):
        client = getattr(dut, f"i{k}")
        place, length = proof.any(1), proof.any(1)
        m.d.comb += [
            client.araddr.eq(place), client.arlen.eq(length), client.arvalid.eq(proof.any()),
            client.rready.eq(1),
        ]  # fmt: skip
        own = Cat(place, length)
        proof.assume(proof.held(client.arvalid, client.arready, own))
        passed = o.arvalid & o.arready & (o.arid == k)
        proof.in_order(
            client.arvalid & client.arready, own, passed, Cat(o.araddr[0], o.arlen[0]), 1, f"i{k}"
        )
        proof.always(
            f"i{k}: data of its id come a cycle later",
            (client.rvalid == proof.last(o.rvalid & (number == k)))
            & (~client.rvalid | (client.rdata == proof.last(o.rdata))),
        )
        # An address that is offered while memory takes one within four cycles.
        slow, long = Signal(3, name=f"slow{k}"), Signal(6, name=f"long{k}")
        m.d.sync += [
            slow.eq(Mux(o.arvalid & ~o.arready, slow + (slow != 7), 0)),
            long.eq(Mux(client.arvalid & ~client.arready & (slow < 4), long + (long != 63), 0)),
        ]
        proof.always(f"i{k}: an address is taken within 12 cycles", long <= 12)
    proof.reaches("both wait", dut.i0.arvalid & dut.i1.arvalid & ~o.arready & o.arvalid)
    return proof


def write_arbiter() -> Proof:
    dut = WriteArbiter(8, 2)
    proof = Proof(dut)
    m, o = proof.m, dut.o
    proof.drive(o.awready, o.wready, o.bvalid)
    number = proof.any(1)
    m.d.comb += o.bid.eq(number)
    held = proof.held(o.awvalid, o.awready, o.awaddr, o.awlen, o.awid)
    proof.always("an address stays until it is taken", held)
    held = proof.held(o.wvalid, o.wready, o.wdata[:2], o.wlast)
    proof.always("a beat stays until it is taken", held)
    for k in range(2):
        client = getattr(dut, f"i{k}")
        own, mine = proof.any(1), Cat(proof.any(2), proof.any(1))
        m.d.comb += [
            client.awaddr.eq(own), client.awvalid.eq(proof.any()), client.wvalid.eq(proof.any()),
            client.wdata.eq(Cat(mine[:1], k)), client.wlast.eq(mine[2]), client.bready.eq(1),
        ]  # fmt: skip
        proof.assume(proof.held(client.awvalid, client.awready, own))
        proof.assume(proof.held(client.wvalid, client.wready, mine))
        passed = o.awvalid & o.awready & (o.awid == k)
        proof.in_order(client.awvalid & client.awready, own, passed, o.awaddr[0], 1, f"i{k}")
        # Bursts whose address went on, or is on its way, and whose data did not.
        bursts, ended = Signal(4, name=f"bursts{k}"), client.wvalid & client.wready & client.wlast
        m.d.sync += bursts.eq(bursts + (client.awvalid & client.awready) - ended)
        proof.always(
            f"i{k}: data go behind an address only", ~(client.wvalid & client.wready) | bursts.any()
        )
        proof.always(
            f"i{k}: its beats pass as they are",
            ~(client.wvalid & client.wready)
            | (o.wvalid & o.wready & (o.wlast == mine[2]) & (o.wdata == client.wdata)),
        )
        proof.always(
            f"i{k}: responses of its id come a cycle later",
            client.bvalid == proof.last(o.bvalid & (number == k)),
        )
    proof.always(
        "beats of one client at a time",
        ~((dut.i0.wvalid & dut.i0.wready) & (dut.i1.wvalid & dut.i1.wready)),
    )
    turn = Signal(2, init=2)  # whose burst has begun; 2: nobody's
    for k in range(2):
        client = getattr(dut, f"i{k}")
        goes = client.wvalid & client.wready
        proof.always(f"i{k}: whole bursts", ~goes | (turn == 2) | (turn == k))
        with m.If(goes):
            m.d.sync += turn.eq(Mux(client.wlast, 2, k))
    proof.reaches("both wait", dut.i0.awvalid & dut.i1.awvalid & ~o.awready & o.awvalid)
    proof.reaches("a beat stalls", o.wvalid & ~o.wready)
    return proof


MADE = {
    "bursts": small(SMALL, bursts), "reader": small(SMALL, reader), "writer": small(SMALL, writer),
    "read arbiter": read_arbiter(), "write arbiter": write_arbiter(),
}  # fmt: skip


test_is_proved = proved(MADE)
