"""The host port: rules of AXI4-Lite, and registers that hold what was written, and nothing else."""

from amaranth.hdl import Cat, Mux, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.registers import offsets
from lightmamba.hardware.rtl.host import HostPort

from .proving import Proof, proved

SEEN = ("token", "chain", "lane_base")  # registers that are followed: first, between, and wide
OFFSET_BITS = 12


def bus() -> Proof:
    """Any host, which keeps what it offers until it is taken."""
    dut = HostPort(ArchConfig(lanes=1))
    proof = Proof(dut)
    m, b = proof.m, dut.bus
    proof.drive(b.bready, b.rready)
    for valid, ready, payload in (
        (b.awvalid, b.awready, (b.awaddr,)),
        (b.wvalid, b.wready, (b.wdata, b.wstrb)),
        (b.arvalid, b.arready, (b.araddr,)),
    ):
        proof.drive(valid, *payload)
        proof.assume(proof.held(valid, ready, *payload))
    addressed, given = b.awvalid & b.awready, b.wvalid & b.wready
    written, answered = b.bvalid & b.bready, b.rvalid & b.rready
    asked = b.arvalid & b.arready
    proof.always("a response stays until it is taken", proof.held(b.bvalid, b.bready))
    proof.always("a value stays until it is taken", proof.held(b.rvalid, b.rready, b.rdata))
    addresses, values, reads = Signal(2), Signal(2), Signal(2)  # without their response
    m.d.sync += [
        addresses.eq(addresses + addressed - written),
        values.eq(values + given - written),
        reads.eq(reads + asked - answered),
    ]
    proof.always("a response to address and value", ~b.bvalid | (addresses.any() & values.any()))
    proof.always("a value for an address", ~b.rvalid | reads.any())
    proof.always("one read at a time", reads <= 1)
    proof.always("every response is OKAY", ~(b.bresp.any() | b.rresp.any()))
    late = {"write": addresses.any() & values.any() & ~b.bvalid, "read": reads.any() & ~b.rvalid}
    for what, waiting in late.items():
        slow = Signal(4, name=f"slow_{what}")
        m.d.sync += slow.eq(Mux(waiting, slow + (slow != 15), 0))
        proof.always(f"a {what} is answered within six cycles", slow <= 6)

    # A register that is followed takes a write's bytes when its address and value are here.
    place, value, strobe = Signal(OFFSET_BITS - 2), Signal(32), Signal(4)
    at, new, bytes_ = Signal.like(place), Signal.like(value), Signal.like(strobe)
    m.d.comb += [
        at.eq(Mux(addressed, b.awaddr[2:], place)),
        new.eq(Mux(given, b.wdata, value)),
        bytes_.eq(Mux(given, b.wstrb, strobe)),
    ]
    m.d.sync += [place.eq(at), value.eq(new), strobe.eq(bytes_)]
    known = offsets(dut.config.kinds)
    for name in SEEN:
        member = getattr(dut, name)
        word = Value.cast(member[0] if name == "lane_base" else member)[:32]
        was = proof.last(word)
        # A write goes through with its response.
        goes = b.bvalid & ~proof.last(b.bvalid & ~b.bready)
        mine = goes & (proof.last(place) == known[name] // 4)
        mask = Cat(bit.replicate(8) for bit in proof.last(strobe))
        wanted = Mux(mine, (was & ~mask) | (proof.last(value) & mask), was)
        proof.always(f"{name} holds what was written, and nothing else", word == wanted[:32])
        proof.reaches(f"{name} is written", mine & (word != was))
        stays, index = Signal(name=f"{name}_stays"), Signal(OFFSET_BITS - 2, name=f"{name}_index")
        with m.If(asked):
            m.d.sync += [stays.eq(1), index.eq(b.araddr[2:])]
        with m.If(mine):
            m.d.sync += stays.eq(0)
        read = b.rvalid & stays & (index == known[name] // 4) & ~mine
        proof.always(f"{name} is read as it is", ~read | (b.rdata == word))
        proof.reaches(f"{name} is read", read & word.any())
    proof.reaches("a response stalls", b.bvalid & ~b.bready)
    proof.reaches("a value stalls", b.rvalid & ~b.rready)
    return proof


MADE = {"host port": bus()}


test_is_proved = proved(MADE)
