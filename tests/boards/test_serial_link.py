"""The serial line's driver against a board in Python: windows, broken frames, rates, cables."""

from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError
from lightmamba.device.boards import serial_link
from lightmamba.device.boards.serial_link import SerialLink
from lightmamba.hardware.machine import serial
from lightmamba.hardware.machine.serial import BLOCK, Operation, Request, entry

from .serial_board import FakePort, Memory

OP = Operation
DATA = np.random.default_rng(1).bytes(40 * BLOCK)


def writes(data: bytes = DATA) -> list[Request]:
    return [
        Request(OP.WRITE_MEMORY, 0, at, payload=data[at : at + BLOCK])
        for at in range(0, len(data), BLOCK)
    ]


class Every:
    """Spoil the n-th frame, and every n-th from then on, up to a number of them."""

    def __init__(self, n: int, how: Any, most: int = 1000) -> None:
        self.n, self.how, self.seen, self.most, self.done = n, how, 0, most, 0

    def __call__(self, frame: bytes) -> bytes:
        self.seen += 1
        if self.seen % self.n or self.done >= self.most:
            return frame
        self.done += 1
        found: bytes = self.how(frame)
        return found


def flip(at: int, mask: int = 0x10) -> Any:
    def how(frame: bytes) -> bytes:
        found = bytearray(frame)
        found[at % len(frame)] ^= mask
        return bytes(found)

    return how


FAULTS = {
    "start": flip(0), "operation": flip(1), "sequence": flip(2), "address": flip(4),
    "count": flip(7), "count above a block": flip(8, 0x80), "payload": flip(9),
    "payload's end": flip(-5), "CRC": flip(-1),
    "a byte lost": lambda frame: frame[:6] + frame[7:],
    "the end lost": lambda frame: frame[:-3],
    "all lost": lambda frame: b"",
    "a byte more": lambda frame: frame[:6] + b"\xa5" + frame[6:],
    "bytes before": lambda frame: b"\xa5\x5a\x00" + frame,
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_a_load_goes_through_whatever_happens_to_frames(port, way, name):
    link = SerialLink(port)
    spoiled = Every(7, FAULTS[name])
    setattr(port, way, spoiled)
    link.ask(*writes())
    assert port.behind.memory[: len(DATA)].tobytes() == DATA
    assert spoiled.done > 3
    if (way, name) != ("to_host", "bytes before"):  # those harm nothing
        assert link.broken >= spoiled.done / 4, "they are counted"
    reads = [Request(OP.READ_MEMORY, 0, at, BLOCK) for at in range(0, len(DATA), BLOCK)]
    assert b"".join(answer.payload for answer in link.exchange(reads)) == DATA


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("way", ["to_board", "to_host"])
def test_registers_are_written_once_and_in_order(port, way, name):
    link = SerialLink(port)
    setattr(port, way, Every(3, FAULTS[name]))
    for n in range(300):
        link.ask(
            Request(OP.WRITE_REGISTERS, 0, payload=entry(8, n) + entry(12, n)),
            Request(OP.REGISTERS, 0, payload=entry(8)),
        )
    assert port.behind.written == [(at, n) for n in range(300) for at in (8, 12)]


def test_writes_to_registers_are_told_apart(port):
    """Even where all sequence numbers were used in between."""
    link = SerialLink(port)
    for between in (254, 255, 256, 511):
        port.behind.written.clear()
        for n in range(3):
            link.ask(Request(OP.WRITE_REGISTERS, 0, payload=entry(8, n)))
            link.ask(*[Request(OP.REGISTERS, 0, payload=entry(8))] * between)
        assert port.behind.written == [(8, 0), (8, 1), (8, 2)]


def test_a_write_whose_answers_are_lost_is_done_once(port):
    """Also when the rate is lowered in between."""
    link, lost = SerialLink(port), list[bool]()

    def lose(frame: bytes) -> bytes:
        lost.append(frame[1] == OP.WRITE_REGISTERS and lost.count(True) < 4)
        return b"" if lost[-1] else frame

    port.to_host = lose
    link.ask(Request(OP.WRITE_REGISTERS, 0, payload=entry(8, 1)))
    assert lost.count(True) == 4
    assert link.baud == 2_000_000
    assert port.behind.written == [(8, 1)]


def test_requests_are_sent_ahead(port, clock):
    """Three blocks are under way; a window of one would wait for each answer."""
    link, ahead = SerialLink(port), []
    answer = port._answer

    def note(body: bytes) -> None:
        ahead.append(len(port._queue) + 1)
        answer(body)

    port._answer = note
    link.ask(*writes())
    assert max(ahead) == 3
    assert link.broken == 0


def test_the_line_is_full_while_loading(port, clock):
    link = SerialLink(port)
    start = clock.now
    link.ask(*writes())
    assert len(DATA) / ((clock.now - start) * 300_000) > 0.96


def test_the_highest_rate_that_carries_is_used(clock):
    for limit, rate in ((3_000_000, 3_000_000), (2_500_000, 2_000_000), (1_500_000, 1_000_000),
                        (500_000, 115_200)):  # fmt: skip
        port = FakePort(clock, Memory(), limit=limit)
        link = SerialLink(port)
        assert (link.baud, port.baudrate, port.board_baud) == (rate, rate, rate)
        link.ask(*writes())
        assert port.behind.memory[: len(DATA)].tobytes() == DATA


def test_a_simulated_board_is_ready_at_once(port, clock):
    """Its line needs neither a break nor a test: IDENTIFY and SET_RATE alone, and a character."""
    begin = clock.now
    link = SerialLink(port, simulated=True)
    assert (link.baud, port.board_baud, link.broken) == (3_000_000, 3_000_000, 0)
    assert port.requests == [OP.IDENTIFY, OP.SET_RATE]
    assert clock.now - begin < 0.005
    link.ask(*writes())
    assert port.behind.memory[: len(DATA)].tobytes() == DATA


def test_no_higher_rate_than_asked_for(clock):
    assert SerialLink(FakePort(clock, Memory()), baud=1_000_000).baud == 1_000_000
    assert SerialLink(FakePort(clock, Memory()), baud=115_200).baud == 115_200


def test_a_line_that_becomes_worse_is_used_at_a_lower_rate(port):
    link = SerialLink(port)
    port.limit = 2_000_000
    link.ask(*writes())
    assert link.baud == 2_000_000
    assert port.behind.memory[: len(DATA)].tobytes() == DATA


def test_a_board_that_an_earlier_program_left_at_a_higher_rate(clock, port):
    SerialLink(port)
    port.baudrate = 115_200
    assert SerialLink(port).baud == 3_000_000
    port.baudrate = 115_200
    port._frame = bytearray(b"\xa5\x87")  # it was stopped in the middle of a request
    assert SerialLink(port).baud == 3_000_000


def test_an_answer_is_waited_for_as_long_as_the_interrupt(port, monkeypatch):
    """Whatever a wait counts by."""
    link = SerialLink(port)
    soon = link._patience([link.wait_request(0)])
    for module in (serial, serial_link):
        monkeypatch.setattr(module, "WAIT_STEP", 32)
    assert link._patience([link.wait_request(0.25)]) - soon == pytest.approx(0.25, abs=1e-6)


def test_after_a_long_pause_the_board_is_at_its_default_rate(port, clock):
    link = SerialLink(port)
    for pause in (1.0, 2.7, 3.0, 5.5, 5.7, 3600.0):
        clock.now += pause
        port._pass()
        link.ask(Request(OP.REGISTERS, 0, payload=entry(4)))
        assert link.baud == 3_000_000
    assert link.broken == 0


def test_nothing_answers(clock):
    port = FakePort(clock, Memory())
    port.to_board = lambda data: b""
    with pytest.raises(
        DeviceError, match=r"no accelerator on /dev/x: nothing came at 115,200 baud"
    ):
        SerialLink(port, name="/dev/x")


def test_another_device_answers(clock):
    port = FakePort(clock, Memory())
    port.to_host = lambda frame: b"AT+ERROR\r\n"
    port._frame = bytearray()
    with pytest.raises(DeviceError, match=r"no accelerator on .*: \d+ bytes that are no answer"):
        SerialLink(port)


def test_another_version_of_the_protocol(clock):
    with pytest.raises(DeviceError, match="version 9 of the serial protocol, but this program"):
        SerialLink(FakePort(clock, Memory(), version=9))


def test_a_cable_that_is_pulled(port):
    link = SerialLink(port, name="/dev/x")
    port.pulled = True
    with pytest.raises(DeviceError, match=r"the serial port /dev/x is gone \(Input/output error\)"):
        link.ask(*writes())
    assert link.gone


def test_a_board_that_loses_its_power(port):
    """The port stays, as that of a USB bridge with its own supply does."""
    link = SerialLink(port)
    port.to_board = lambda data: b""
    with pytest.raises(DeviceError, match="does not answer any more; check its cable and power"):
        link.ask(*writes())


def test_what_the_board_refuses(port):
    link = SerialLink(port)
    answer = port._send
    port._send = lambda op, seq, payload, status: answer(op, seq, b"", 10)
    with pytest.raises(DeviceError, match="refused to read memory at 0x40: an error of the acc"):
        link.ask(Request(OP.READ_MEMORY, 0, 0x40, 8))
