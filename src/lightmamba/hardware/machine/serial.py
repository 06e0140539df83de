"""Protocol of the serial line between a host and an accelerator on a board.

The line is 8N1, least significant bit first; numbers are little-endian. The host sends requests,
the board answers each one, in order::

    request   0xA5 operation sequence address[4] count[2] payload[count] crc[4]
    answer    0x5A operation sequence count[2] payload[count] status crc[4]

A request has a payload if bit 7 of its operation is set; otherwise ``count`` is what is asked for.
The status is the last byte before the CRC, so that a board can send memory while it reads it.

**CRC**: CRC-32 (ISO-HDLC, as of :func:`zlib.crc32`) of everything between the start byte and the
CRC. CRC-16 would let one of 65,536 damaged blocks pass, which a line of many errors makes in a few
hours; the two bytes more are 0.2 % of a block.

**Broken requests**: a wrong CRC, a character with a wrong stop bit, silence within a frame, a count
above :data:`BLOCK`, or more than the buffer holds. The board answers once with operation and
sequence 0 and a status that says why, then ignores everything until the line was silent for
``1 << SILENCE_LOG2`` bit times. No byte of a broken request takes effect. The host waits for that
time and resends what was not answered; so it does where an answer is broken or missing.

**Once**: a request that is executed again has the same effect as once, but for the order of
registers: the board does not execute ``WRITE_REGISTERS`` again if its sequence number is that of
the last one executed since an ``IDENTIFY``; it answers only. A host has at most one of them
unanswered, and gives the next one another number.

**Flow**: the board takes characters at line rate at all times, into a buffer of :data:`BUFFER`
bytes. The host sends ahead as long as the requests without an answer take at most ``BUFFER - 1``
bytes there (:attr:`Request.stored`), so the buffer cannot overrun, however slow memory is.

**Rate**: after reset a board runs at :data:`DEFAULT_BAUD`. It returns to it when no correct request
came for ``1 << IDLE_LOG2`` bit times (5.6 s at 3 Mbaud), and at once after a break: a character of
zeros with a stop bit of zero, such as 0x00 sent at half of the board's rate or less.
"""

import struct
import zlib
from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from typing import Self

__all__ = [
    "BLOCK", "BOARDS", "BREAKS", "BUFFER", "CAPTURES", "CRC_BYTES", "DEFAULT_BAUD", "ENTRY",
    "HEADER_BYTES", "IDENTITY_BYTES", "IDLE_LOG2", "MAGIC", "MEANING", "PAYLOAD", "RATE_BITS",
    "RATE_LEAST",
    "RATE_LIMIT", "READ_FLAG", "SILENCE_LOG2", "SOC_BASE", "SOC_REGISTERS", "START_ANSWER",
    "START_REQUEST", "ULX3S_85F", "UNIT", "VERSION", "WAIT_LIMIT", "Answer", "Identity",
    "Operation", "Request", "SocRegister", "Status", "entry", "rate", "soc_offset", "wait_field",
]  # fmt: skip

START_REQUEST, START_ANSWER = 0xA5, 0x5A
PAYLOAD = 0x80  # bit of an operation: a payload follows the header
HEADER_BYTES = 8  # of a request, without its start byte
CRC_BYTES = 4
BLOCK = 1024  # bytes of payload, and of what is read at once
BUFFER = 4096  # bytes of the board's buffer
UNIT = 8  # bytes: addresses and counts of memory are multiples
SILENCE_LOG2 = 14  # bit times after which a frame counts as cut short: 5.5 ms at 3 Mbaud
IDLE_LOG2 = 24  # bit times without a correct request after which the rate falls back
DEFAULT_BAUD = 115_200
RATE_BITS = 20  # a rate is in units of the clock over 2**20
RATE_LIMIT = 1 << RATE_BITS - 2  # four cycles of the clock are a bit at least
RATE_LEAST = 1 << 9  # slower lines are refused: they would take too long to fall back
CAPTURES = 4  # settings of when the memory's data are taken
MAGIC = 0x4C534D4C  # LMSL
VERSION = 1
ULX3S_85F = 1
BOARDS = {ULX3S_85F: "Radiona ULX3S with an LFE5U-85F"}

READ_FLAG = 1 << 31  # in the address of an entry of REGISTERS: read, and ignore the value
SOC_BASE = 0x1000  # offset of the SoC's registers; below are those of the accelerator
_ENTRY = struct.Struct("<II")
ENTRY = _ENTRY.size
_HEADER, _ANSWER = struct.Struct("<BBIH"), struct.Struct("<BBH")
_IDENTITY = struct.Struct("<I4B3I2H3BxI")
IDENTITY_BYTES = _IDENTITY.size
WAIT_STEP = 8  # a wait counts its address field up by this in every cycle, to 2**32
WAIT_LIMIT = (1 << 31) // WAIT_STEP  # cycles: the field's top bit is 1 until then


class Operation(IntEnum):
    """Operations of a request; an answer repeats the one that it answers."""

    BROKEN = 0  # of answers only: a request that could not be read
    IDENTIFY = 1  # answers an Identity; forgets the last WRITE_REGISTERS
    READ_MEMORY = 2  # count bytes from address on
    WAIT = 3  # for the interrupt, the end of a time (address: `wait_field`), or another request
    SET_RATE = 4  # address: `rate`; takes effect when the answer has left
    REGISTERS = 5 | PAYLOAD  # entries of (address, value); answers what was read, or the address
    WRITE_REGISTERS = 6 | PAYLOAD  # entries as well, executed once; answers nothing
    WRITE_MEMORY = 7 | PAYLOAD  # the payload, at address


class Status(IntEnum):
    """Last byte of an answer before its CRC."""

    OK = 0
    CRC = 1
    CUT = 2
    LINE = 3
    OVERLONG = 4
    OVERRUN = 5
    UNKNOWN = 8
    ARGUMENT = 9
    BUS = 10
    LATE = 11


BREAKS = frozenset({Status.CRC, Status.CUT, Status.LINE, Status.OVERLONG, Status.OVERRUN})
MEANING = {
    Status.OK: "done",
    Status.CRC: "a request with a wrong CRC",
    Status.CUT: "a request that was cut short",
    Status.LINE: "a character with a wrong stop bit",
    Status.OVERLONG: f"a request of more than {BLOCK} bytes",
    Status.OVERRUN: "more requests than the buffer holds",
    Status.UNKNOWN: "an operation that the board does not know",
    Status.ARGUMENT: "an address or a count that is not allowed",
    Status.BUS: "an error of the accelerator's bus or of memory",
    Status.LATE: "no interrupt until now",
}


@dataclass(frozen=True)
class Request:
    """A request of the host.

    Parameters
    ----------
    operation : int
        One of :class:`Operation`.
    sequence : int
        0 to 255; the answer repeats it.
    address : int
        32 bits; of memory a multiple of :data:`UNIT`.
    count : int
        Bytes asked for, where the operation has no payload.
    payload : bytes
    """

    operation: int
    sequence: int
    address: int = 0
    count: int = 0
    payload: bytes = b""

    @property
    def stored(self) -> int:
        """Bytes that it takes in the board's buffer."""
        return HEADER_BYTES + len(self.payload)

    @property
    def expected(self) -> int:
        """Bytes of the payload of its answer, if it is executed."""
        if self.operation == Operation.REGISTERS:
            return len(self.payload) // 2
        answers = {Operation.IDENTIFY: IDENTITY_BYTES, Operation.READ_MEMORY: self.count}
        return answers.get(Operation(self.operation), 0)

    def encode(self) -> bytes:
        """The frame."""
        count = len(self.payload) if self.operation & PAYLOAD else self.count
        head = _HEADER.pack(self.operation, self.sequence, self.address, count)
        body = head + self.payload
        return bytes([START_REQUEST]) + body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


@dataclass(frozen=True)
class Answer:
    """An answer of the board."""

    operation: int
    sequence: int
    status: int
    payload: bytes = b""

    OVERHEAD = 2 + _ANSWER.size + CRC_BYTES  # bytes of a frame besides its payload

    def encode(self) -> bytes:
        """The frame."""
        head = _ANSWER.pack(self.operation, self.sequence, len(self.payload))
        body = head + self.payload + bytes([self.status])
        return bytes([START_ANSWER]) + body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")

    @classmethod
    def decode(cls, data: bytes | bytearray) -> tuple[Self | None, int]:
        """The first correct answer in what was received, and how many bytes to drop.

        Without one, what cannot be the beginning of an answer is to be dropped.
        """
        at = 0
        while (at := data.find(START_ANSWER, at)) >= 0:
            begin = at + 1
            if len(data) < begin + _ANSWER.size:
                return None, at
            operation, sequence, count = _ANSWER.unpack_from(data, begin)
            end = at + cls.OVERHEAD + count
            if count <= BLOCK:
                if len(data) < end:
                    return None, at
                body = bytes(data[begin : end - CRC_BYTES])
                if zlib.crc32(body) == int.from_bytes(data[end - CRC_BYTES : end], "little"):
                    return cls(operation, sequence, body[-1], body[_ANSWER.size : -1]), end
            at = begin
        return None, len(data)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity of a board: its answer to ``IDENTIFY``, which has the fields in this order.

    Parameters
    ----------
    build : int
        First 32 bits of the hash of the accelerator's build parameters.
    clock_hz, memory_clock_hz : int
        Clocks of the accelerator and of its memory.
    memory_log2 : int
        Bytes of memory, as a power of two.
    board : int
        Key of :data:`BOARDS`.
    word_bytes : int
        Of the bridge's memory port, 4 or 8.
    baud : int
        Default rate of the line.
    turn : int
        Steps of the phase of the memory's clock that are a whole period.
    """

    magic: int = MAGIC
    version: int = VERSION
    board: int = ULX3S_85F
    memory_log2: int = 25
    word_bytes: int = 8
    build: int
    clock_hz: int
    memory_clock_hz: int
    block: int = BLOCK
    buffer: int = BUFFER
    silence_log2: int = SILENCE_LOG2
    idle_log2: int = IDLE_LOG2
    turn: int = 48
    baud: int = DEFAULT_BAUD

    def encode(self) -> bytes:
        """Payload of the answer to IDENTIFY."""
        return _IDENTITY.pack(*astuple(self))

    @staticmethod
    def decode(payload: bytes) -> "Identity":
        """Read the payload of the answer to IDENTIFY."""
        names = (field.name for field in fields(Identity))
        return Identity(**dict(zip(names, _IDENTITY.unpack(payload), strict=True)))


@dataclass(frozen=True)
class SocRegister:
    """A register of the board, next to those of the accelerator.

    Parameters
    ----------
    access : str
        rw, ro or wo; what is written to a wo register is a pulse.
    bits : int
        The others read as 0.
    """

    name: str
    access: str
    bits: int
    doc: str


SOC_REGISTERS = (
    SocRegister("phase", "wo", 2, "bit 0: step the phase of the SDRAM's clock; bit 1: later, "
                "else earlier"),
    SocRegister("phase_steps", "ro", 8, "steps later than after configuration, less whole periods"),
    SocRegister("capture", "rw", 4, "cycles of the SDRAM's clock from a read to its data, added "
                "to the controller's own; 1 after configuration"),
    SocRegister("leds", "rw", 8, "the board's LEDs"),
    SocRegister("reset", "wo", 1, "bit 0: reset the accelerator and the way to memory, and "
                "initialize the memory, whose contents count as lost"),
    SocRegister("loaded", "rw", 32, "the host's own, 0 after configuration: hash of the images "
                "that memory holds"),
)  # fmt: skip


def soc_offset(name: str) -> int:
    """Address of a register of the SoC in an entry of REGISTERS."""
    return SOC_BASE + 4 * [register.name for register in SOC_REGISTERS].index(name)


def entry(address: int, value: int | None = None) -> bytes:
    """Entry of REGISTERS: write ``value``, or read if there is none."""
    return _ENTRY.pack(address | READ_FLAG, 0) if value is None else _ENTRY.pack(address, value)


def rate(clock_hz: float, baud: float) -> int:
    """Address field of SET_RATE for a baud rate.

    Raises
    ------
    ValueError
        If the clock is too slow or the rate too low for it.
    """
    value = round(baud / clock_hz * (1 << RATE_BITS))
    if not RATE_LEAST <= value <= RATE_LIMIT:
        raise ValueError(
            f"{baud:,.0f} baud cannot be made from a clock of {clock_hz:,.0f} Hz; it makes "
            f"{clock_hz * RATE_LEAST / (1 << RATE_BITS):,.0f} to {clock_hz / 4:,.0f}"
        )
    return value


def wait_field(cycles: int) -> int:
    """Address field of WAIT for a number of cycles, 1 to :data:`WAIT_LIMIT`."""
    return (1 << 32) - WAIT_STEP * min(max(1, cycles), WAIT_LIMIT)
