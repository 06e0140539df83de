"""Queues and forks: nothing is lost, doubled or reordered, whoever stalls."""

from amaranth.hdl import Elaboratable, Module, Signal, unsigned
from amaranth.lib import stream

from lightmamba.hardware.rtl.pipe import Queue, Ring
from lightmamba.hardware.rtl.streams import Fork, StreamQueue

from .proving import Proof, proved


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


class Pipeline(Elaboratable):
    """Registers that nothing stops, and the queue behind them."""

    latency = 2

    def __init__(self, *, settle: bool) -> None:
        self.settle = settle
        self.want, self.value = Signal(), Signal()
        self.issue, self.busy, self.depth = Signal(), Signal(), 0
        self.o = stream.Signature(unsigned(1)).create()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queue = Queue(m, self.o, latency=self.latency, settle=self.settle)
        steps = [self.issue & 1, self.value & 1]
        for n in range(self.latency):
            now = [Signal(name=f"valid{n}"), Signal(name=f"value{n}")]
            m.d.sync += [register.eq(step) for register, step in zip(now, steps, strict=True)]
            steps = [*now]
        m.d.comb += [self.issue.eq(self.want & queue.room), self.busy.eq(queue.busy)]
        queue.connect(self.issue, steps[0], steps[1])
        return m


def pipeline(*, settle: bool, stalls: bool) -> Proof:
    """With ``settle``, credit comes back a cycle later. Without stalls, nothing has to wait."""
    dut = Pipeline(settle=settle)
    proof = Proof(dut)
    most = dut.latency + 4 + settle  # entries of the queue
    proof.drive(dut.want, dut.value)
    if not stalls:
        proof.m.d.comb += dut.o.ready.eq(1)
        proof.always("one beat a cycle", ~dut.want | dut.issue)
        proof.reaches("beats leave", dut.o.valid)
        return proof
    taken = proof.take("o", dut.o)
    level = proof.in_order(
        dut.issue, dut.value, taken, dut.o.payload, most, depth=14 if settle else 0
    )
    proof.always("busy while something is under way", dut.busy | ~level.any())
    return proof


MADE = {
    "ring": ring(),
    "stream_queue": stream_queue(),
    "fork": fork(),
    "pipeline, fast ready": pipeline(settle=False, stalls=True),
    "pipeline, slow ready": pipeline(settle=True, stalls=True),
    "pipeline, fast ready, no stalls": pipeline(settle=False, stalls=False),
    "pipeline, slow ready, no stalls": pipeline(settle=True, stalls=False),
}


test_is_proved = proved(MADE)
