"""Queues and forks: nothing is lost, doubled or reordered, whoever stalls."""

from amaranth.hdl import Signal, unsigned

from lightmamba.hardware.rtl.pipe import Ring
from lightmamba.hardware.rtl.streams import Fork, StreamQueue

from .proving import Proof, cases, needs_yosys


def ring() -> Proof:
    dut = Ring(width=1, depth=3)
    proof = Proof(dut)
    proof.drive(dut.w_en, dut.w_data)
    taken = proof.any() & dut.r_rdy
    proof.m.d.comb += dut.r_en.eq(taken)
    level = proof.in_order(dut.w_en, dut.w_data, taken, dut.r_data, 3, room=False)
    proof.assume(~dut.w_en | (level < 3))  # whoever writes knows that there is room
    hidden = level.any() & ~dut.r_rdy
    proof.always("an entry shows within two cycles", ~(hidden & proof.last(hidden)))
    return proof


def stream_queue() -> Proof:
    dut = StreamQueue(unsigned(1), 4)
    proof = Proof(dut)
    given, taken = proof.give("i", dut.i), proof.take("o", dut.o)
    level = proof.in_order(given, dut.i.payload, taken, dut.o.payload, 4)
    proof.always("level counts the entries", dut.level == level)
    proof.always("there is room while it is not full", dut.i.ready | (level >= 3))
    return proof


def fork() -> Proof:
    dut = Fork(unsigned(2), 3)
    proof = Proof(dut)
    given = proof.give("i", dut.i)
    counts = []
    for n in range(3):
        o = getattr(dut, f"o{n}")
        taken = proof.take(f"o{n}", o)
        proof.always(f"o{n} shows what is given", ~o.valid | (o.payload == dut.i.payload))
        ahead = Signal(2, name=f"ahead{n}")  # beats that this output took and others have not
        proof.m.d.sync += ahead.eq(ahead + taken - given)
        proof.always(f"o{n} takes each beat once", (ahead + taken - given).as_unsigned()[:2] <= 1)
        counts.append(taken)
    proof.reaches("one output is last", given & counts[0] & ~counts[1] & ~counts[2])
    return proof


MADE = {"ring": ring(), "stream_queue": stream_queue(), "fork": fork()}


@needs_yosys
@cases(MADE)
def test_is_proved(unit: str, name: str):
    MADE[unit].check(name)
