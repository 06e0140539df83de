"""Walks: addresses inside their region, in order, and no read before the write that it needs.

Regions and counts are small here, and each walk is proved for three strides.
"""

from amaranth.hdl import Mux, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.memory import prefetch, slot_walk
from lightmamba.hardware.rtl.memory.prefetch import LayerWalk, Segments
from lightmamba.hardware.rtl.memory.slot_walk import SlotWalk

from .proving import Proof, proved, small

STRIDES = (8, 24, 4096)
MOST = 2  # layers or heads
PENDING = 2  # tokens that may wait
SMALL = {
    prefetch: {"PENDING": PENDING, "LAYER_BITS": 2},
    slot_walk: {"PENDING": PENDING, "HEAD_BITS": 2},
}
COUNT = 5  # words of each


def fixed(proof: Proof, value: Value, least: int, most: int) -> Signal:
    """Make an input that has one value all the time, any from ``least`` to ``most``."""
    chosen = proof.any(most.bit_length())
    first = Signal(init=1)
    proof.m.d.sync += first.eq(0)
    proof.assume((chosen >= least) & (chosen <= most))
    proof.assume(first | (chosen == proof.last(chosen)))
    proof.m.d.comb += Value.cast(value).eq(chosen)
    return chosen


def started(proof: Proof, dut: LayerWalk | SlotWalk, taken: Value, each: Value) -> None:
    """Let tokens start once the walk runs, as many ahead of it as it has room for."""
    begun = Signal(2)
    proof.m.d.sync += begun.eq(begun + (begun != 3))
    running = begun == 3
    start = proof.any() & running
    proof.m.d.comb += [dut.run.eq(running), dut.start.eq(start), dut.fresh.eq(proof.any())]
    ahead, index = Signal(range(PENDING + 2)), Signal(range(MOST + 1))  # tokens; of commands
    ends = taken & (index == each - 1)
    proof.m.d.sync += ahead.eq(ahead + start - ends)
    with proof.m.If(taken):
        proof.m.d.sync += index.eq(Mux(ends, 0, index + 1))
    proof.assume(~start | (ahead < PENDING))
    proof.always("no command without a token", ~taken | ahead.any())


def places(
    proof: Proof, name: str, o: Signal, taken: Value, base: int, each: Value, stride: int
) -> None:
    """Properties of the addresses of a stream of commands: the region's, one after the other."""
    index = Signal(range(MOST + 1), name=f"{name}_index")
    with proof.m.If(taken):
        proof.m.d.sync += index.eq(Mux(index == each - 1, 0, index + 1))
    address, offset = o.payload.address, Signal(44)
    with proof.m.Switch(index):
        for n in range(MOST):
            with proof.m.Case(n):
                proof.m.d.comb += offset.eq(base + n * stride)
    proof.always(f"{name} is of the next part of its region", ~o.valid | (address == offset))
    proof.always(f"{name} asks for all of a part", ~o.valid | (o.payload.count == COUNT))


def behind_writes(proof: Proof, read: Value, written: Value, answered: Value, each: Value) -> None:
    """A part is read only when all writes of it by earlier tokens are answered."""
    reads, open_ = Signal(4), Signal(4)  # reads ahead of answers; writes without one
    proof.m.d.sync += [
        reads.eq(reads + read - answered), open_.eq(open_ + written - answered)
    ]  # fmt: skip
    proof.assume(~answered | open_.any())
    behind = Signal(
        4
    )  # reads whose write has not been asked for: a part is written after it is read
    proof.m.d.sync += behind.eq(behind + read - written)
    proof.assume(~written | behind.any())
    proof.always("no read before the write that it needs", ~read | (reads < each))
    proof.reaches("a read waits for a write", (reads == each) & ~read)


def layers(stride: int) -> Proof:
    dut = LayerWalk()
    proof, base = Proof(dut), 0x2000
    each = fixed(proof, dut.layers, 1, MOST)
    answered = proof.any()
    proof.m.d.comb += [
        dut.base.eq(base), dut.stride.eq(stride), dut.count.eq(COUNT), dut.written.eq(answered),
    ]  # fmt: skip
    read, written = proof.take("o", dut.o), proof.take("o_write", dut.o_write)
    started(proof, dut, read, each)
    places(proof, "o", dut.o, read, base, each, stride)
    places(proof, "o_write", dut.o_write, written, base, each, stride)
    behind_writes(proof, read, written, answered, each)
    return proof


def heads(stride: int) -> Proof:
    """Heads of a chain of tokens of one slot, with one copy of the state."""
    dut = SlotWalk(ArchConfig())
    proof, base = Proof(dut), 0x2000
    each = fixed(proof, dut.heads, 1, MOST)
    answered = proof.any()
    proof.m.d.comb += [
        dut.base[0].eq(base), dut.other[0].eq(base), dut.stride.eq(stride), dut.count.eq(COUNT),
        dut.written.eq(answered),
    ]  # fmt: skip
    read, written = proof.take("o", dut.o, depth=40), proof.take("o_write", dut.o_write)
    started(proof, dut, read, each)
    places(proof, "o", dut.o, read, base, each, stride)
    places(proof, "o_write", dut.o_write, written, base, each, stride)
    behind_writes(proof, read, written, answered, each)
    return proof


def segments() -> Proof:
    """The layers first; then, for each token, the head if it is wanted, and the layers."""
    dut = Segments(8)
    proof, base, count, more = Proof(dut), 0x1000, 9, 4
    m = proof.m
    begun = Signal(2)
    m.d.sync += begun.eq(begun + (begun != 3))
    running, start, head = begun == 3, proof.any(), proof.any()
    m.d.comb += [
        dut.run.eq(running), dut.start.eq(start), dut.head.eq(head), dut.base.eq(base),
        dut.layers_count.eq(count), dut.head_count.eq(more),
    ]  # fmt: skip
    proof.assume(~start | (running & proof.last(running)))
    taken = proof.take("o", dut.o)
    address, asked = dut.o.payload.address, dut.o.payload.count
    is_head, is_layers = address == base + 8 * count, address == base
    proof.always("a whole segment", (
        ~dut.o.valid | (is_head & (asked == more)) | (is_layers & (asked == count))
    ))  # fmt: skip
    # Segments of layers run one ahead of the tokens, heads none.
    ahead, owed = Signal(3, init=1), Signal(3)
    m.d.sync += [
        ahead.eq(ahead + start - (taken & is_layers)),
        owed.eq(owed + (start & head) - (taken & is_head)),
    ]
    proof.assume(~start | (ahead < PENDING))
    proof.always("layers once for each token, and once ahead", ~(taken & is_layers) | ahead.any())
    proof.always("a head only where one is wanted", ~(taken & is_head) | owed.any())
    proof.always("a head is not left behind", ~(taken & is_layers) | (owed < ahead + 1))
    idle = Signal(4)
    m.d.sync += idle.eq(Mux(ahead.any() & running & ~dut.o.valid, idle + (idle != 15), 0))
    proof.always("a segment is asked for within five cycles", idle <= 5)
    proof.reaches("a head is asked for", taken & is_head)
    proof.reaches("tokens wait", ahead == PENDING)
    return proof


MADE = {
    **{f"layers, {stride}": small(SMALL, layers, stride) for stride in STRIDES},
    **{f"heads, {stride}": small(SMALL, heads, stride) for stride in STRIDES},
    "segments": small(SMALL, segments),
}
OTHER = {unit: proof for unit, proof in MADE.items() if unit.endswith((", 8", ", 4096"))}


test_is_proved = proved({unit: proof for unit, proof in MADE.items() if unit not in OTHER})
test_is_proved_for_other_strides = proved(OTHER, in_ci=False)
