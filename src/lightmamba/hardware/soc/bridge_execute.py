"""Requests carried out one after the other: registers, memory, the interrupt, the line's rate."""

from typing import Any

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.machine.serial import (
    BLOCK,
    ENTRY,
    HEADER_BYTES,
    IDENTITY_BYTES,
    PAYLOAD,
    RATE_BITS,
    RATE_LEAST,
    READ_FLAG,
    SOC_BASE,
    START_ANSWER,
    UNIT,
    WAIT_STEP,
    Identity,
    Operation,
    Status,
)
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import LITE_BITS, lite_slave, master
from lightmamba.hardware.soc.bridge_answer import PIECE
from lightmamba.hardware.soc.soc_registers import INDEX_BITS

__all__ = ["Executor"]

HEAD = 5  # bytes of an answer before its payload
VALUE = 4  # bytes of a register
SOC_BIT = SOC_BASE.bit_length() - 1
INCREMENTING = 1  # AXI's type of burst
KIND_BITS = 3  # low bits of an operation, which tell all of them apart


class Executor(wiring.Component):
    """Take requests from the buffer, carry them out, and answer.

    One access at a time, in bursts of one beat. With streams and buses that are always ready the
    answer's first byte comes ``latency`` cycles after a request's header begins; a word of memory
    takes at most ``interval`` cycles, far less than its characters.

    Parameters
    ----------
    bits : int
        Of the memory port, 32 or 64.
    identity : Identity
        Answer to IDENTIFY.

    Members
    -------
    frames : In(stream of 8 bits)
        Header and payload of correct requests.
    broken, taken : In, Out
        Status of a broken request, and that it is being answered.
    answer : Out(stream of PIECE)
    sent : In
        All characters of answers have left.
    rate, rate_set : Out
        A new rate, and a pulse when it takes effect.
    host : Out(AXI4-Lite)
    memory : Out(AXI4)
    soc_index, soc_write, soc_data : Out
    soc_value : In
    interrupt : In
    busy : Out
        A request is being carried out.
    """

    latency, interval = 10, 24

    def __init__(self, bits: int, identity: Identity) -> None:
        if bits not in (32, 64):
            raise ValueError(f"the memory port must have 32 or 64 bits, not {bits}")
        self.bits, self.identity = bits, identity
        super().__init__({
            "frames": i_stream(8), "broken": In(4), "taken": Out(1), "answer": o_stream(PIECE),
            "sent": In(1), "rate": Out(RATE_BITS), "rate_set": Out(1),
            "host": Out(lite_slave()), "memory": Out(master(bits)),
            "soc_index": Out(INDEX_BITS), "soc_write": Out(1), "soc_data": Out(32),
            "soc_value": In(32), "interrupt": In(1), "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.m = m
        # All bytes come in at the top of `word` and leave at its bottom.
        self.word = Signal(64)
        self.count = Signal(range(IDENTITY_BYTES + 1))  # bytes of the present step that are left
        self.operation, self.sequence = Signal(8), Signal(8)
        self.address = Signal(32)
        self.left = Signal(range(BLOCK + 1))  # bytes of payload, or to be read
        self.status = Signal(4)
        self.decoded = Signal()  # the header is read, what is fetched now is payload
        self.skip = Signal()  # the payload is not used
        self.last, self.known = Signal(8), Signal()  # sequence of the last WRITE_REGISTERS
        # What the states do with them; one place for each saves half of the multiplexers.
        self.header, self.shift, self.counted = Signal(), Signal(), Signal()
        self.used, self.advance, self.fetched, self.valued = Signal(), Signal(), Signal(), Signal()
        self._registers_of_steps()
        with m.FSM() as fsm:
            self._begin()
            self._admit()
            self._answer()
            self._next()
            self._registers()
            self._memory()
        # Not in the states: yosys would make memories of such constants, which have no clock.
        offers = [fsm.ongoing(state) for state in ("HEAD", "IDENTITY", "EMIT", "STATUS")]
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.frames.ready.eq(fsm.ongoing("FETCH") | fsm.ongoing("SKIP")),
            self.answer.valid.eq(Cat(offers).any()),
            self.answer.payload.last.eq(fsm.ongoing("STATUS")),
        ]
        self._wires()
        return m

    def _is(self, *operations: Operation) -> Any:
        """Whether the request is one of these; only of one that is known (not ``skip``)."""
        low = self.operation[:KIND_BITS]
        return Cat(low == (each & (1 << KIND_BITS) - 1) for each in operations).any()

    def _registers_of_steps(self) -> None:
        """Registers that several states change; a state's own assignments come later and win."""
        m, word = self.m, self.word
        value = Mux(word[SOC_BIT], self.soc_value, self.host.rdata)
        with m.If(self.shift):
            m.d.sync += word.eq(Cat(word[8:], self.frames.payload))
        with m.Elif(self.fetched):
            m.d.sync += word[: self.bits].eq(self.memory.rdata)
        with m.Elif(self.valued):
            m.d.sync += word[:32].eq(value)
        with m.If(self.counted):
            m.d.sync += self.count.eq(self.count - 1)
        with m.If(self.header):
            m.d.sync += Cat(self.operation, self.sequence, self.address, self.left).eq(word)
        with m.If(self.used):
            m.d.sync += self.left.eq(self.left - 1)
        with m.If(self.advance):
            step = self.bits // 8
            if step != WAIT_STEP:
                step = Mux(self._is(Operation.WAIT), WAIT_STEP, step)
            m.d.sync += self.address.eq(self.address + step)

    def _begin(self) -> None:
        """Wait for a request, and bring bytes into the word."""
        m, frames = self.m, self.frames
        with m.State("IDLE"):
            m.d.sync += [self.decoded.eq(0), self.count.eq(HEADER_BYTES), self.status.eq(0)]
            with m.If(self.broken.any()):
                m.d.comb += self.taken.eq(1)
                m.d.sync += [
                    self.operation.eq(Operation.BROKEN), self.sequence.eq(0), self.left.eq(0),
                    self.status.eq(self.broken), self.skip.eq(1), self.count.eq(HEAD),
                ]  # fmt: skip
                m.next = "HEAD"
            with m.Elif(frames.valid):
                m.next = "FETCH"
        with m.State("FETCH"), m.If(frames.valid):
            m.d.comb += [self.shift.eq(1), self.counted.eq(1), self.used.eq(1)]
            with m.If(self.count == 1):
                with m.If(~self.decoded):
                    m.next = "DECODE"
                with m.Elif(self._is(Operation.WRITE_MEMORY)):
                    m.next = "STORE"
                with m.Else():
                    m.next = "REGISTER"

    def _admit(self) -> None:
        """Take the header apart, and refuse what is wrong in it."""
        m, address = self.m, self.address
        with m.State("DECODE"):
            m.d.comb += self.header.eq(1)
            m.d.sync += self.decoded.eq(1)
            m.next = "ADMIT"
        with m.State("ADMIT"):
            again, part = Signal(), Signal()
            moves = self._is(Operation.READ_MEMORY, Operation.WRITE_MEMORY)
            lists = self._is(Operation.REGISTERS, Operation.WRITE_REGISTERS)
            units = exact(UNIT)
            m.d.comb += [
                again.eq(self._is(Operation.WRITE_REGISTERS) & self.known
                         & (self.sequence == self.last)),
                part.eq(self.left[:units].any() | (moves & address[:units].any())),
            ]  # fmt: skip
            m.d.sync += [self.skip.eq(again), self.count.eq(HEAD)]
            slow, fast = RATE_LEAST.bit_length() - 1, RATE_BITS
            out_of_range = address[fast:].any() | ~address[slow:fast].any()
            known = Cat(self.operation == operation for operation in list(Operation)[1:]).any()
            with m.If(~known):
                m.d.sync += [self.status.eq(Status.UNKNOWN), self.skip.eq(1)]
            with m.Elif(
                ((moves | lists) & part)
                | (moves & address[self.identity.memory_log2 :].any())
                | (self._is(Operation.SET_RATE) & out_of_range)
            ):
                m.d.sync += [self.status.eq(Status.ARGUMENT), self.skip.eq(1)]
            with m.Elif(self._is(Operation.WRITE_REGISTERS)):
                m.d.sync += [self.last.eq(self.sequence), self.known.eq(1)]
            with m.Elif(self._is(Operation.IDENTIFY)):
                m.d.sync += self.known.eq(0)
            m.next = "HEAD"

    def _piece(self, byte: Any, first: Any = 0) -> Any:
        """Offer a byte of the answer; whether it is taken."""
        piece = self.answer.payload
        self.m.d.comb += [piece.byte.eq(byte), piece.first.eq(first)]
        return self.answer.ready

    def _answer(self) -> None:
        """Parts of the answer: head, bytes of the word, identity, status."""
        m, count = self.m, self.count
        with m.State("HEAD"):
            size = Signal(range(BLOCK + 1))
            with m.If(~self.skip), m.Switch(self.operation):
                with m.Case(Operation.IDENTIFY):
                    m.d.comb += size.eq(IDENTITY_BYTES)
                with m.Case(Operation.READ_MEMORY):
                    m.d.comb += size.eq(self.left)
                with m.Case(Operation.REGISTERS):
                    m.d.comb += size.eq(self.left[1:])
            start = C(START_ANSWER, 8)
            parts = Array([size[8:], size[8:], size[:8], self.sequence, self.operation, start])
            with m.If(self._piece(parts[count[:3]], count == HEAD)):
                m.d.comb += self.counted.eq(1)
                with m.If(count == 1):
                    m.next = "NEXT"
                    with m.If(self._is(Operation.IDENTIFY) & ~self.skip):
                        m.d.sync += count.eq(IDENTITY_BYTES)
                        m.next = "IDENTITY"
        with m.State("IDENTITY"):
            # Each bit as a function of the place: a table would become a memory.
            said = list(enumerate(reversed(self.identity.encode()), 1))
            bits = [
                Cat(count == n for n, byte in said if byte >> bit & 1).any() for bit in range(8)
            ]
            with m.If(self._piece(Cat(bits))):
                m.d.comb += self.counted.eq(1)
                with m.If(count == 1):
                    m.next = "STATUS"
        with m.State("EMIT"), m.If(self._piece(self.word[:8])):
            m.d.comb += [
                self.shift.eq(1), self.counted.eq(1), self.used.eq(self._is(Operation.READ_MEMORY)),
            ]  # fmt: skip
            with m.If(count == 1):
                m.next = "NEXT"
        with m.State("STATUS"), m.If(self._piece(self.status)):
            m.next = "IDLE"
            with m.If(self._is(Operation.SET_RATE) & ~self.skip):
                m.next = "RATE"
        with m.State("RATE"), m.If(self.sent):
            m.d.comb += self.rate_set.eq(1)
            m.next = "IDLE"

    def _next(self) -> None:
        """Choose the next step of a request."""
        m, frames = self.m, self.frames
        with m.State("NEXT"):
            m.d.sync += self.count.eq(ENTRY)
            with m.If(self._is(Operation.WRITE_MEMORY)):
                m.d.sync += self.count.eq(self.bits // 8)
            m.next = "STATUS"
            payload = self.operation[PAYLOAD.bit_length() - 1]
            with m.If(self.skip), m.If(payload & self.left.any()):
                m.next = "SKIP"
            with m.Elif(self._is(Operation.WAIT)):
                m.next = "WAIT"
            with m.Elif(self.left.any()):
                with m.If(self._is(Operation.READ_MEMORY)):
                    m.next = "READ"
                with m.Elif(payload):
                    m.next = "FETCH"
        with m.State("SKIP"), m.If(frames.valid):
            m.d.comb += self.used.eq(1)
            with m.If(self.left == 1):
                m.next = "STATUS"
        with m.State("WAIT"):
            m.d.comb += self.advance.eq(1)
            late = ~self.address[-1] | frames.valid | self.broken.any()
            with m.If(self.interrupt | late):
                m.d.sync += self.status.eq(Mux(self.interrupt, Status.OK, Status.LATE))
                m.next = "STATUS"

    def _registers(self) -> None:
        """Carry out an entry; the word holds its address below its value."""
        m, host, word = self.m, self.host, self.word
        reads = word[READ_FLAG.bit_length() - 1]

        def done() -> None:
            """Leave what was read for the answer, or the address that was written."""
            m.d.comb += self.valued.eq(reads)
            m.d.sync += self.count.eq(VALUE)
            m.next = "NEXT"
            with m.If(self._is(Operation.REGISTERS)):
                m.next = "EMIT"

        with m.State("REGISTER"):
            with m.If(word[SOC_BIT]):
                m.d.comb += self.soc_write.eq(~reads)
                done()
            with m.Else():
                m.d.sync += [
                    host.arvalid.eq(reads), host.awvalid.eq(~reads), host.wvalid.eq(~reads),
                ]  # fmt: skip
                m.next = "HOST"
        with m.State("HOST"):
            response = Mux(host.rvalid, host.rresp, host.bresp)
            with m.If(host.rvalid | host.bvalid):
                with m.If(response.any()):
                    m.d.sync += self.status.eq(Status.BUS)
                done()

    def _memory(self) -> None:
        """Move a word of memory."""
        m, memory, size = self.m, self.memory, self.bits // 8

        def moved(response: Any) -> None:
            m.d.comb += self.advance.eq(1)
            m.d.sync += self.count.eq(size)
            with m.If(response.any()):
                m.d.sync += self.status.eq(Status.BUS)

        with m.State("READ"):
            m.d.sync += memory.arvalid.eq(1)
            m.next = "READING"
        with m.State("READING"), m.If(memory.rvalid):
            moved(memory.rresp)
            m.d.comb += self.fetched.eq(1)
            m.next = "EMIT"
        with m.State("STORE"):
            m.d.sync += [memory.awvalid.eq(1), memory.wvalid.eq(1)]
            m.next = "STORING"
        with m.State("STORING"), m.If(memory.bvalid):
            moved(memory.bresp)
            m.next = "NEXT"

    def _wires(self) -> None:
        """Buses: what is offered stays until it is taken, and every response is taken at once."""
        m, host, memory, word = self.m, self.host, self.memory, self.word
        for bus in (host, memory):
            for channel in ("aw", "w", "ar"):
                valid = getattr(bus, f"{channel}valid")
                with m.If(valid & getattr(bus, f"{channel}ready")):
                    m.d.sync += valid.eq(0)
            m.d.comb += [bus.bready.eq(1), bus.rready.eq(1)]
        address = Cat(self.address, C(0, ADDRESS_BITS - len(self.address)))
        m.d.comb += [
            host.awaddr.eq(word[:LITE_BITS]),
            host.araddr.eq(word[:LITE_BITS]),
            host.wdata.eq(word[32:]),
            host.wstrb.eq(15),
            memory.awaddr.eq(address),
            memory.araddr.eq(address),
            memory.wdata.eq(word[64 - self.bits :]),
            memory.wstrb.eq(-1),
            memory.wlast.eq(1),
            self.soc_index.eq(word[2:]),
            self.soc_data.eq(word[32:]),
            self.rate.eq(self.address),
        ]
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(memory, f"{channel}size").eq(exact(self.bits // 8)),
                getattr(memory, f"{channel}burst").eq(INCREMENTING),
            ]


def exact(value: int) -> int:
    """Logarithm of a power of two."""
    return value.bit_length() - 1
