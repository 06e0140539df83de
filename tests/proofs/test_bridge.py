"""The serial bridge takes whole frames only, and keeps the rules of both buses.

A character comes every ten cycles at the soonest, as the receiver's unit says. Blocks have a few
bytes here, and whether a CRC is right is any guess.
"""

from amaranth.hdl import Cat, Module, Mux, Signal

from lightmamba.hardware.machine.serial import (
    CRC_BYTES,
    HEADER_BYTES,
    PAYLOAD,
    START_REQUEST,
    Identity,
)
from lightmamba.hardware.soc import bridge_receive
from lightmamba.hardware.soc.bridge_execute import Executor
from lightmamba.hardware.soc.bridge_receive import FrameBuffer, FrameReceiver
from lightmamba.hardware.soc.crc import RESIDUE, Crc32

from .proving import Proof, proved, small

BLOCK = 8  # bytes of a payload; a header has as many
DEPTH = 4  # bytes of the buffer
IDENTITY = Identity(build=1, memory_log2=6, clock_hz=60_000_000, memory_clock_hz=60_000_000)


class AnyCrc(Crc32):
    """A CRC that is right or not by the last character, whatever came before it."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(9))
        m.d.comb += self.busy.eq(left.any())
        m.d.sync += left.eq(Mux(self.load, 8, left - left.any()))
        with m.If(self.load):
            m.d.sync += self.value.eq(Mux(self.data[0], RESIDUE, 0))
        return m


def buffer() -> Proof:
    dut = FrameBuffer(DEPTH)
    proof = Proof(dut)
    m = proof.m
    proof.drive(dut.write, dut.data, dut.commit, dut.drop)
    # As the receiver does: it writes, commits or drops, and never into a full buffer.
    proof.assume(~(dut.write & dut.full) & ~(dut.commit & (dut.write | dut.drop)))
    proof.assume(~(dut.write & proof.last(dut.write)))  # `full` is a cycle late
    taken = proof.take("o", dut.o)
    level, kept, ahead = Signal(5), Signal(8), Signal(5)  # bytes that count, and that are written
    fresh = Signal(5)
    now = Mux(dut.commit, fresh, 0)
    m.d.sync += [
        level.eq(level + now - taken),
        fresh.eq(Mux(dut.commit | dut.drop, 0, fresh + dut.write)),
    ]
    follows, counts, gone = Signal(), Signal(), Signal()
    mine = follows & counts & ~gone & taken & (ahead == 0)
    with m.If(dut.write & ~dut.drop & ~follows & proof.any()):
        m.d.sync += [follows.eq(1), kept.eq(dut.data), ahead.eq(level + fresh - taken)]
    with m.Elif(follows & ~gone):
        m.d.sync += [ahead.eq(ahead - taken), gone.eq(mine), counts.eq(counts | dut.commit)]
        with m.If(dut.drop & ~counts):
            m.d.sync += follows.eq(0)
    proof.always("nothing is lost, doubled or reordered", ~mine | (dut.o.payload == kept))
    proof.always("nothing is taken that does not count", ~taken | level.any())
    proof.always("what waits fits", (level + fresh)[:5] <= DEPTH)
    proof.reaches("it is full", dut.full)
    proof.reaches("a byte is dropped", follows & dut.drop)
    return proof


def receiver() -> Proof:
    dut = FrameReceiver()
    proof = Proof(dut)
    m = proof.m
    proof.drive(dut.valid, dut.data, dut.error, dut.full, dut.taken, dut.quiet)
    soon = Signal(range(dut.interval))  # cycles until a character may come
    m.d.sync += soon.eq(Mux(dut.valid, dut.interval - 1, soon - soon.any()))
    proof.assume(~(dut.valid & soon.any()))
    proof.assume(~(dut.valid & dut.quiet))

    # The frame under way: its characters, and how many it has by its header.
    under_way, number, has, low = Signal(), Signal(5), Signal(), Signal(8)
    count = Signal(16)
    size = Mux(has, count[:4], 0) + HEADER_BYTES + CRC_BYTES
    wrong, written = Signal(), Signal(5)
    ignores = Signal()  # all that comes behind a broken frame, until the line is quiet
    m.d.sync += ignores.eq(dut.drop | (ignores & ~dut.quiet))
    starts = dut.valid & ~under_way & ~ignores & ~dut.error & (dut.data == START_REQUEST)
    ends = dut.commit | dut.drop
    with m.If(starts):
        m.d.sync += [under_way.eq(1), number.eq(0), wrong.eq(0), written.eq(0), count.eq(0)]
    with m.Elif(dut.valid & under_way):
        m.d.sync += [
            number.eq(number + (number != 31)),
            low.eq(dut.data),
            wrong.eq(wrong | dut.error),
            written.eq(written + dut.write),
        ]
        with m.If(number == 0):
            m.d.sync += has.eq(dut.data[PAYLOAD.bit_length() - 1])
        with m.If(number == HEADER_BYTES - 1):
            m.d.sync += count.eq(Cat(low, dut.data))
    with m.If(ends):
        m.d.sync += under_way.eq(0)
    commit = dut.commit
    proof.always("a frame counts when all of it came", ~commit | (number == size))
    proof.always("a frame with a broken character does not count", ~(commit & wrong))
    proof.always("a frame that is too long does not count", ~(commit & has & (count > BLOCK)))
    proof.always(
        "its header and its payload are written", ~commit | (written == number - CRC_BYTES)
    )
    proof.always("nothing is written outside a frame", ~dut.write | under_way)
    proof.always("nothing is written where there is no room", ~(dut.write & dut.full))
    proof.always("a dropped frame has its reason", ~proof.last(dut.drop) | dut.broken.any())
    proof.reaches("a frame with payload is at its end", under_way & (count != 0) & (number == size))
    return proof


def executor(bits: int) -> Proof:
    dut = Executor(bits, IDENTITY)
    proof = Proof(dut)
    m = proof.m
    fetched = proof.give("frames", dut.frames)
    proof.drive(dut.broken, dut.sent, dut.interrupt, dut.soc_value)
    proof.take("answer", dut.answer)
    for name, bus in (("host", dut.host), ("memory", dut.memory)):
        proof.drive(bus.awready, bus.wready, bus.arready, bus.bvalid, bus.rvalid, bus.bresp)
        proof.drive(bus.rdata, bus.rresp)
        for channel, payload in (
            ("aw", bus.awaddr), ("w", Cat(bus.wdata, bus.wstrb)), ("ar", bus.araddr),
        ):  # fmt: skip
            valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
            held = proof.held(valid, ready, payload)
            proof.always(f"{name}: {channel} is held until it is taken", held)
        # What a slave owes: an answer to each address, behind its data if it writes.
        owes = {}
        for way in ("aw", "w", "ar"):
            answers = bus.rvalid & bus.rready if way == "ar" else bus.bvalid & bus.bready
            owes[way] = Signal(2, name=f"owes_{way}")
            takes = getattr(bus, f"{way}valid") & getattr(bus, f"{way}ready")
            m.d.sync += owes[way].eq(owes[way] + takes - answers)
        proof.assume(~bus.bvalid | (owes["aw"].any() & owes["w"].any()))
        proof.assume(~bus.rvalid | owes["ar"].any())
        asks = bus.arvalid | bus.awvalid | bus.wvalid
        one = (owes["aw"] <= 1) & (owes["w"] <= 1) & (owes["ar"] <= 1)
        proof.always(f"{name}: one access at a time", one & ~(bus.awvalid & owes["aw"].any()))
        proof.always(f"{name}: a read or a write", ~(bus.arvalid & (bus.awvalid | bus.wvalid)))
        proof.reaches(f"{name}: an address stalls", asks & ~(bus.awready | bus.arready))
    # Before a word is written, as many bytes as it has were taken since the last one.
    since = Signal(4)
    writes = dut.memory.awvalid & ~proof.last(dut.memory.awvalid)
    m.d.sync += since.eq(Mux(writes, 0, since) + (fetched & (since != 15)))
    proof.always("a word is written when all of it came", ~writes | (since >= bits // 8))
    return proof


MADE = {
    "frame buffer": buffer(),
    "frame receiver": small({bridge_receive: {"BLOCK": BLOCK, "Crc32": AnyCrc}}, receiver),
    "executor": executor(32),
}


test_is_proved = proved(MADE, in_ci=False)  # four minutes
