"""The watches of the ports: right answers are never a fault, and wrong ones always are."""

from amaranth.hdl import Const, Mux, Signal

from lightmamba.hardware.machine.faults import Fault
from lightmamba.hardware.rtl.memory.watch import Faults, ReadWatch, WriteWatch

from .proving import Proof, proved

BEATS = 8  # that may be owed


def read_watch(*, legal: bool) -> Proof:
    """Reads of up to four beats, two bursts outstanding, answered in order; right, or anyhow."""
    dut = ReadWatch(BEATS)
    proof = Proof(dut)
    m = proof.m
    asked, length, answered, last = proof.any(), proof.any(2), proof.any(), proof.any()
    proof.drive(dut.answered_id)
    m.d.comb += [
        dut.asked.eq(asked), dut.length.eq(length), dut.answered.eq(answered), dut.last.eq(last),
    ]  # fmt: skip
    now, then = Signal(3), Signal(3)  # beats to come of the burst under way, and of the next
    left = Mux(answered, now - 1, now)[:3]
    beats = Mux(asked, length + 1, 0)
    m.d.sync += [now.eq(left), then.eq(then)]
    with m.If(left == 0):
        m.d.sync += [now.eq(Mux(then.any(), then, beats)), then.eq(Mux(then.any(), beats, 0))]
    with m.Elif(asked):
        m.d.sync += then.eq(beats)
    proof.assume(~asked | ~then.any())  # a third burst waits
    proof.assume(~answered | now.any())
    owed = now.any()
    proof.always("waits while beats are owed and none comes", (
        (dut.wait == (owed & ~answered)) | proof.last(asked)
    ))  # fmt: skip
    proof.always("owing while beats are owed", dut.owing == owed)
    if legal:
        proof.assume(~answered | (last == (now == 1)))
        proof.always("right answers are no fault", dut.fault == 0)
        proof.reaches("two bursts are outstanding", now.any() & then.any())
        return proof
    response, clear = proof.any(2), proof.any()
    m.d.comb += [dut.response.eq(response), dut.clear.eq(clear)]
    wrong = proof.last(answered & response[1] & ~clear)
    proof.always("a wrong response is a fault in the next cycle", ~wrong | dut.fault.any())
    # Last beats more than bursts that ended; a clear forgets them when nothing is owed.
    quiet = ~(owed | asked | proof.last(asked))
    proof.assume(clear | ~proof.last(clear) | proof.last(quiet))  # held until all has come
    more = Signal(4)
    m.d.sync += more.eq(more + (answered & last) - (answered & (now == 1)))
    with m.If(clear & quiet):
        m.d.sync += more.eq(0)
    with m.Elif(dut.fault.any()):
        m.d.sync += more.eq(more)
    recent = clear | proof.last(clear)
    found = dut.fault.any() | recent | proof.last(recent)
    unequal = more.any() & quiet & proof.last(quiet)
    proof.always("last beats and bursts are as many when all beats are here", ~unequal | found)
    stays = proof.last(dut.fault.any() & ~clear)
    proof.always("a fault stays until it is cleared", ~stays | (dut.fault == proof.last(dut.fault)))
    proof.always("a clear forgets it", ~proof.last(clear) | (dut.fault == 0))
    proof.reaches("a last beat was missing", dut.fault == Fault.NO_LAST)
    proof.reaches("a last beat was early", dut.fault == Fault.EARLY_LAST)
    return proof


def write_watch() -> Proof:
    dut = WriteWatch()
    proof = Proof(dut)
    answered, response, clear = proof.any(), proof.any(2), proof.any()
    proof.drive(dut.answered_id)
    proof.m.d.comb += [
        dut.answered.eq(answered), dut.response.eq(response), dut.clear.eq(clear),
    ]  # fmt: skip
    wrong = proof.last(answered & response[1] & ~clear)
    proof.always("a wrong response is a fault in the next cycle", ~wrong | dut.fault.any())
    right = ~proof.last(dut.fault.any()) & ~proof.last(answered & response[1])
    proof.always("right responses are no fault", ~right | (dut.fault == 0))
    stays = proof.last(dut.fault.any() & ~clear)
    proof.always("a fault stays until it is cleared", ~stays | (dut.fault == proof.last(dut.fault)))
    return proof


def faults() -> Proof:
    """Two groups of sides, each of which keeps its fault until it is cleared."""
    sides = 9
    dut = Faults(sides)
    proof = Proof(dut)
    m, clear = proof.m, proof.any()
    m.d.comb += dut.clear.eq(clear)
    held = Signal(3)  # cycles that a clear has lasted
    m.d.sync += held.eq(Mux(clear, held + (held != 4), 0))
    proof.assume(clear | (held == 0) | (held == 4))
    kinds = []
    for n in range(sides):
        kind = Signal(3, name=f"kind{n}")
        with m.If(clear):
            m.d.sync += kind.eq(0)
        with m.Elif(kind == 0):
            m.d.sync += kind.eq(proof.any(3))
        m.d.comb += [dut.i_fault[n].eq(kind), dut.i_id[n].eq(n), dut.i_address[n].eq(n << 12)]
        kinds.append(kind)
    some = Const(0)
    for kind in kinds:
        some = some | kind.any()
    slow = Signal(range(sides + 8))
    m.d.sync += slow.eq(Mux(some & ~dut.seen & ~clear, slow + (slow != sides + 7), 0))
    proof.always("found within as many cycles as there are sides, and three", slow <= sides + 3)
    proof.always("pending until it is found", dut.pending == (some & ~dut.seen))
    place, number = dut.fault[8:16], dut.fault[16:22]
    right = Const(0)
    for n, kind in enumerate(kinds):
        right = right | ((place == n) & (number == n) & (dut.page == n) & (dut.fault[:3] == kind))
    proof.always("what is found is a side's", ~dut.seen | right[0] | clear | proof.last(clear))
    return proof


MADE = {
    "read watch, right answers": read_watch(legal=True),
    "read watch": read_watch(legal=False),
    "write watch": write_watch(),
    "faults": faults(),
}


test_is_proved = proved(MADE)
