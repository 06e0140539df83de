"""Words and beats: nothing is lost, doubled or reordered where one is taken apart or put together.

A word has two bits here, so that a beat of four holds two, and one of one bit half of one.
"""

from amaranth.hdl import Array, Cat, Mux, Signal, Value, unsigned

from lightmamba.hardware.rtl.memory import reader, writer
from lightmamba.hardware.rtl.memory.reader import Unpacker
from lightmamba.hardware.rtl.memory.writer import Packer

from .proving import Proof, proved, small

BITS = 2  # of a word
SMALL = {
    each: {"WORD_BITS": BITS, "WORD": unsigned(BITS), "COUNT_BITS": 3} for each in (reader, writer)
}


def unpacker(port_bits: int) -> Proof:
    dut = Unpacker(port_bits)
    proof = Proof(dut)
    m, words = proof.m, dut.words
    commanded = proof.give("command", dut.command)
    given, taken = proof.give("i", dut.i), proof.take("o", dut.o)
    due, part = Signal(3), Signal(range(max(2, dut.beats)))  # words to come; beats of one
    whole = given & (part == dut.beats - 1)
    new = Signal(range(words + 1))  # words that this beat brings
    m.d.comb += new.eq(Mux(whole, Mux(due < words, due, words), 0))
    m.d.sync += due.eq(Mux(commanded, dut.command.payload, due - new))
    held = Signal(BITS)  # what came of a word before its last beat
    if dut.beats > 1:
        with m.If(given):
            m.d.sync += [part.eq(part + 1), held.eq(Cat(held, dut.i.payload)[-BITS:])]
    brought = Cat(held, dut.i.payload)[-BITS:] if dut.beats > 1 else dut.i.payload

    # One of the words is followed, by the words ahead of it.
    level, ahead = Signal(5), Signal(5)
    m.d.sync += level.eq(level + new - taken)
    follows, gone, kept = Signal(), Signal(), Signal(BITS)
    which = proof.any(1) if words > 1 else Value.cast(0)
    begin = proof.any() & ~follows & (which < new)
    mine = follows & ~gone & taken & (ahead == 0)
    with m.If(begin):
        chosen = Array(brought[n * BITS : (n + 1) * BITS] for n in range(words))[which]
        m.d.sync += [follows.eq(1), ahead.eq(level - taken + which), kept.eq(chosen)]
    with m.Elif(follows & ~gone & taken):
        m.d.sync += [ahead.eq(ahead - 1), gone.eq(ahead == 0)]
    proof.always("nothing is lost, doubled or reordered", ~mine | (dut.o.payload == kept))
    proof.always("nothing is taken that was not given", ~taken | level.any())
    proof.always("no beat but of a command", ~given | due.any())
    proof.always("a command waits for the one before", ~commanded | ~due.any())
    proof.always("busy while words are to come", dut.busy | ~(due.any() | level.any()))
    idle = Signal(3)
    m.d.sync += idle.eq(Mux(level.any() & ~dut.o.valid, idle + (idle != 7), 0))
    proof.always("a word shows at once", idle == 0)
    proof.reaches("the last beat is not whole", (whole & (due < words)) | Value.cast(words == 1))
    return proof


def packer(port_bits: int) -> Proof:
    dut = Packer(port_bits)
    proof = Proof(dut)
    m, words, beats = proof.m, dut.words, dut.beats
    commanded = proof.give("command", dut.command)
    given, taken = proof.give("i", dut.i), proof.take("o", dut.o)
    due = Signal(3)
    m.d.sync += due.eq(Mux(commanded, dut.command.payload, due - given))
    slot = Signal(range(max(2, words)))  # of the next word in its beat
    m.d.sync += slot.eq(Mux(given, Mux((slot == words - 1) | (due == 1), 0, slot + 1), slot))
    ends = given & ((slot == words - 1) | (due == 1))  # a beat is whole with this word

    # One of the words is followed, by the beats ahead of its own.
    level, ahead = Signal(4), Signal(4)
    m.d.sync += level.eq(level + Mux(ends, beats, 0) - taken)
    follows, gone, kept, at = Signal(), Signal(), Signal(BITS), Signal.like(slot)
    begin = proof.any() & ~follows & given
    mine, beat = follows & ~gone & taken & (ahead == 0), Signal(range(max(2, beats)))
    with m.If(begin):
        m.d.sync += [
            follows.eq(1), ahead.eq(level - taken), kept.eq(dut.i.payload), at.eq(slot)
        ]  # fmt: skip
    with m.Elif(mine):
        m.d.sync += [beat.eq(beat + 1), gone.eq(beat == beats - 1)]
    with m.Elif(follows & ~gone & taken):
        m.d.sync += ahead.eq(ahead - 1)
    payload = dut.o.payload
    if beats > 1:
        right = payload == kept.word_select(beat, len(payload))
    else:
        right = Array(payload[n * BITS : (n + 1) * BITS] for n in range(words))[at] == kept
    proof.always("nothing is lost, doubled or reordered", ~mine | right)
    proof.always("nothing is taken that was not given", ~taken | level.any())
    proof.always("no word but of a command", ~given | due.any())
    proof.always("a command waits for the one before", ~commanded | ~due.any())
    proof.always("busy while beats are to come", dut.busy | ~(due.any() | level.any()))
    return proof


MADE = {
    "unpacker, two words a beat": small(SMALL, unpacker, 4),
    "unpacker, two beats a word": small(SMALL, unpacker, 1),
    "packer, two words a beat": small(SMALL, packer, 4),
    "packer, two beats a word": small(SMALL, packer, 1),
}


test_is_proved = proved(MADE)
