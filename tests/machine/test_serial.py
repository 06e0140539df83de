"""Frames of the serial protocol, byte by byte."""

import zlib

import numpy as np
import pytest

from lightmamba.hardware.machine.serial import (
    BLOCK,
    SOC_REGISTERS,
    Answer,
    Identity,
    Operation,
    Request,
    Status,
    entry,
    rate,
    soc_offset,
    wait_field,
)

OP = Operation
REQUESTS = {
    "a5 01 00 00000000 0000 f7df88a9": Request(OP.IDENTIFY, 0),
    "a5 02 07 00010000 4000 2f80b92f": Request(OP.READ_MEMORY, 7, 0x100, 64),
    "a5 87 08 00100000 0800 0001020304050607 8bc36ec8": Request(
        OP.WRITE_MEMORY, 8, 0x1000, payload=bytes(range(8))
    ),
    "a5 86 09 00000000 0800 1c000000 03000000 5413d3bf": Request(
        OP.WRITE_REGISTERS, 9, payload=entry(0x1C, 3)
    ),
    "a5 85 0a 00000000 0800 10000080 00000000 ecc79a73": Request(
        OP.REGISTERS, 10, payload=entry(0x10)
    ),
    "a5 03 0b 007c28e8 0000 7787ff17": Request(OP.WAIT, 11, wait_field(50_000_000)),
    "a5 04 0c c3f50000 0000 d0086031": Request(OP.SET_RATE, 12, rate(50e6, 3e6)),
}
ANSWERS = {
    "5a 02 07 0400 00010203 00 eaf160a6": Answer(OP.READ_MEMORY, 7, Status.OK, bytes(range(4))),
    "5a 00 00 0000 01 8bc725b1": Answer(OP.BROKEN, 0, Status.CRC),
}
# Of a board of 50 MHz, with SDRAM of 100 MHz and 32 MB.
IDENTITY = "4c4d534c 01 01 19 08 78563412 80f0fa02 00e1f505 0004 0010 0e 18 30 00 00c20100"


def bitwise(data: bytes) -> int:
    """CRC-32 from its definition."""
    value = 0xFFFFFFFF
    for byte in data:
        for n in range(8):
            bit = (value ^ byte >> n) & 1
            value = value >> 1 ^ (0xEDB88320 if bit else 0)
    return value ^ 0xFFFFFFFF


def test_requests():
    for text, request in REQUESTS.items():
        frame = bytes.fromhex(text)
        assert request.encode() == frame
        assert int.from_bytes(frame[-4:], "little") == bitwise(frame[1:-4])


def test_answers():
    for text, answer in ANSWERS.items():
        frame = bytes.fromhex(text)
        assert answer.encode() == frame
        assert Answer.decode(frame) == (answer, len(frame))
        assert int.from_bytes(frame[-4:], "little") == bitwise(frame[1:-4])


def test_the_crc_is_that_of_zlib():
    assert zlib.crc32(b"123456789") == bitwise(b"123456789") == 0xCBF43926


def test_identity():
    found = Identity(build=0x12345678, clock_hz=50_000_000, memory_clock_hz=100_000_000)
    assert found.encode() == bytes.fromhex(IDENTITY)
    assert Identity.decode(found.encode()) == found


def test_answers_are_found_in_what_else_comes():
    first, second = (answer.encode() for answer in ANSWERS.values())
    false = b"\x5a\x02\x01\x00\x00\x00\x00\x00\x00\x00"  # of a wrong CRC
    data = b"noise" + false + first + second
    answer, used = Answer.decode(data)
    assert (answer, data[used:]) == (ANSWERS["5a 02 07 0400 00010203 00 eaf160a6"], second)
    for end in range(len(first)):
        answer, used = Answer.decode(b"noise" + first[:end])
        assert (answer, used) == (None, 5)
    overlong = b"\x5a\x02\x01" + (BLOCK + 1).to_bytes(2, "little")
    assert Answer.decode(overlong + first)[0] is not None


def test_every_flipped_bit_is_found():
    frame = next(iter(ANSWERS.values())).encode()
    for bit in range(8 * len(frame)):
        spoiled = (int.from_bytes(frame, "little") ^ 1 << bit).to_bytes(len(frame), "little")
        assert Answer.decode(spoiled)[0] is None


def test_random_answers_survive_random_cuts():
    rng = np.random.default_rng(3)
    answers = [
        Answer(int(rng.integers(1, 256)), n % 256, 0, rng.bytes(int(rng.integers(40))))
        for n in range(300)
    ]
    stream, found, buffer = b"".join(a.encode() for a in answers), [], bytearray()
    while stream or buffer:
        cut = int(rng.integers(1, 60))
        buffer += stream[:cut]
        stream = stream[cut:]
        while True:
            answer, used = Answer.decode(buffer)
            del buffer[:used]
            if answer is None:
                break
            found.append(answer)
    assert found == answers


def test_rates():
    assert rate(50e6, 115_200) == 2416
    assert abs(rate(50e6, 3e6) / 2**20 * 50e6 / 3e6 - 1) < 1e-4
    for baud in (20e6, 1000):
        with pytest.raises(
            ValueError, match="cannot be made from a clock of 50,000,000 Hz; it mak"
        ):
            rate(50e6, baud)


def test_registers_of_the_board():
    names = [register.name for register in SOC_REGISTERS]
    assert [soc_offset(name) for name in names] == [0x1000 + 4 * n for n in range(len(names))]
    assert len(set(names)) == len(names) < 7, "index 7 is left for the test of a rate"
