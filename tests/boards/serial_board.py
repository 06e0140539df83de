"""A board behind a serial port, in Python, after the protocol's description and not its code."""

import struct
from binascii import crc32
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Clock", "FakePort", "Memory"]

DEFAULT, BUFFER, SILENCE_BITS, IDLE_BITS = 115_200, 4096, 1 << 14, 1 << 24
CLOCK_HZ = 50_000_000
Spoil = Callable[[bytes], bytes]


class Clock:
    """Time that passes only when somebody waits; in the place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Memory:
    """Memory and plain registers; the interrupt comes after ``delay`` seconds."""

    def __init__(self, size: int = 1 << 25, delay: float = 0.0) -> None:
        self.memory = np.zeros(size, np.uint8)
        self.registers: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []
        self.delay = delay

    def read(self, offset: int) -> int:
        return self.registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.registers[offset] = value
        self.written.append((offset, value))

    def wait(self, seconds: float) -> bool:
        self.delay -= seconds
        return self.delay <= 0


class FakePort:
    """A port with a board of one protocol version behind it.

    Parameters
    ----------
    clock, behind
        Time, and the accelerator with its memory: a `Memory`, or a simulated one.
    build
        Hash that the board has.
    limit
        Highest rate at which characters arrive as they were sent.

    Attributes
    ----------
    to_board, to_host
        What becomes of the characters of a request, of an answer.
    pulled
        Whether the cable is out.
    requests
        Operations that arrived whole.
    loaded
        Register of that name, as are ``leds``.
    """

    def __init__(
        self, clock: Clock, behind: Any, *, build: int = 0x1234, limit: int = 3_000_000,
        memory_log2: int = 25, version: int = 1,
    ) -> None:  # fmt: skip
        self.clock, self.behind, self.limit = clock, behind, limit
        self.identity = struct.pack(
            "<IBBBBIIIHHBBBxI", 0x4C534D4C, version, 1, memory_log2, 8, build, CLOCK_HZ,
            100_000_000, 1024, BUFFER, 14, 24, 48, DEFAULT,
        )  # fmt: skip
        self.baudrate, self.timeout = DEFAULT, 1.0
        self.board_baud = DEFAULT
        self.to_board: Spoil = bytes
        self.to_host: Spoil = bytes
        self.pulled = self.closed = False
        self.requests: list[int] = []
        self.board = {4 * n: 0 for n in range(6)}  # registers of the board
        self.last_write = -1
        self._frame, self._discard = bytearray(), False
        self._queue: list[bytes] = []  # requests in the buffer
        self._out = bytearray()
        self._heard = self._good = clock.now

    # The host's side.

    @property
    def in_waiting(self) -> int:
        self._check()
        self._work()
        return len(self._out)

    def read(self, size: int = 1) -> bytes:
        self._check()
        self._work()
        if not self._out:
            self.clock.now += self.timeout
            self._pass()
            self._work()
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def write(self, data: bytes) -> int:
        self._check()
        self._pass()
        self.clock.now += 10 * len(data) / self.baudrate
        self._heard = self.clock.now
        if self.baudrate != self.board_baud:
            if self.baudrate * 2 <= self.board_baud and 0 in data:
                self.board_baud = DEFAULT  # a break
            return len(data)
        if self.baudrate > self.limit:
            data = bytes(byte ^ (n % 7 == 3) for n, byte in enumerate(data))
        for byte in self.to_board(data):
            self._take(byte)
        return len(data)

    def flush(self) -> None:
        self._check()

    def reset_input_buffer(self) -> None:
        self._check()
        self._work()
        self._out.clear()

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.pulled:
            raise OSError(5, "Input/output error")

    # The board's side.

    def _pass(self) -> None:
        """Notice how long the line has been silent."""
        now = self.clock.now
        if now - self._heard >= SILENCE_BITS / self.board_baud:
            if self._frame:
                self._broken(2)
            self._discard = False
        if now - self._good >= IDLE_BITS / self.board_baud:
            self.board_baud = DEFAULT

    def _broken(self, status: int) -> None:
        self._frame.clear()
        self._discard = True
        self._queue.append(bytes([0, 0, status]))

    def _take(self, byte: int) -> None:
        if self._discard:
            return
        if not self._frame and byte != 0xA5:
            return
        self._frame.append(byte)
        if len(self._frame) < 9:
            return
        count = int.from_bytes(self._frame[7:9], "little")
        if count > 1024:
            self._broken(4)
            return
        size = 13 + (count if self._frame[1] & 0x80 else 0)
        if len(self._frame) < size:
            return
        body, crc = self._frame[1:-4], int.from_bytes(self._frame[-4:], "little")
        if crc32(body) != crc:
            self._broken(1)
            return
        self._frame.clear()
        self._queue.append(bytes(body))
        self._good = self.clock.now
        assert sum(map(len, self._queue)) < BUFFER, "the board's buffer overran"

    def _work(self) -> None:
        while self._queue:
            self._answer(self._queue.pop(0))

    def _answer(self, body: bytes) -> None:
        if body[0] == 0:
            self._send(0, 0, b"", body[2])
            return
        operation, sequence, address, count = struct.unpack_from("<BBIH", body)
        payload = body[8:]
        self.requests.append(operation)
        answer, status = b"", 0
        memory = self.behind.memory
        if operation == 0x01:
            answer, self.last_write = self.identity, -1
        elif operation == 0x02:
            answer = bytes(memory[address : address + count])
        elif operation == 0x87:
            memory[address : address + len(payload)] = np.frombuffer(payload, np.uint8)
        elif operation == 0x85:
            answer = self._registers(payload)
        elif operation == 0x86:
            if sequence != self.last_write:
                self._registers(payload)
            self.last_write = sequence
        elif operation == 0x03:
            seconds = (2**32 - address) / 8 / CLOCK_HZ
            self.clock.now += seconds
            status = 0 if self.behind.wait(seconds) else 11
        elif operation != 0x04:
            status = 8
        self._send(operation, sequence, answer, status)
        if operation == 0x04:
            self.board_baud = round(address * CLOCK_HZ / 2**20 / 1000) * 1000
            self.board_baud = min((3_000_000, 2_000_000, 1_000_000, DEFAULT),
                                  key=lambda baud: abs(baud - self.board_baud))  # fmt: skip

    def _registers(self, payload: bytes) -> bytes:
        found = []
        for address, value in struct.iter_unpack("<II", payload):
            soc, offset = address >> 12 & 1, address & 0xFFF
            if address >> 31:
                found.append(self.board.get(offset & 31, 0) if soc else self.behind.read(offset))
                continue
            if soc:
                if offset & 31 in self.board:
                    self.board[offset & 31] = value
            else:
                self.behind.write(offset, value)
            found.append(address)
        return struct.pack(f"<{len(found)}I", *found)

    def _send(self, operation: int, sequence: int, payload: bytes, status: int) -> None:
        body = struct.pack("<BBH", operation, sequence, len(payload)) + payload + bytes([status])
        frame = b"\x5a" + body + crc32(body).to_bytes(4, "little")
        self._out += self.to_host(frame)
