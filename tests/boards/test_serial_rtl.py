"""The driver of the serial line against the bridge's RTL, in Amaranth's simulator."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.common.errors import DeviceError
from lightmamba.device.boards import serial_link
from lightmamba.device.boards.serial_device import SerialDevice
from lightmamba.device.boards.serial_link import SerialLink
from lightmamba.hardware.machine.serial import Identity
from tests.soc.board import Board

from .test_serial_link import Every, flip

CLOCK_HZ, BAUD, FAST = 12_000_000, 1_500_000, 3_000_000
IDENTITY = Identity(
    build=0x1234, clock_hz=CLOCK_HZ, memory_clock_hz=CLOCK_HZ, memory_log2=13, baud=BAUD,
    silence_log2=9, idle_log2=13,
)  # fmt: skip


class SimulatedPort:
    """A port on the simulation's clock; it also replaces the module ``time``."""

    def __init__(self) -> None:
        self.board = Board(identity=IDENTITY, memory=False, clock_hz=CLOCK_HZ)
        self.baudrate, self.timeout, self.now = BAUD, 1.0, 0.0
        self.to_board: Any = bytes
        self._sending: deque[tuple[int, float]] = deque()
        self.interrupt_at = 1e9
        self.simulator: Simulator = self.board.simulator(self._line, self._interrupt)

    async def _line(self, ctx: Any) -> None:
        while True:
            while not self._sending:
                await ctx.delay(5e-6)
            byte, self.board.bit = self._sending.popleft()
            await self.board.send(ctx, bytes([byte]))

    async def _interrupt(self, ctx: Any) -> None:
        while True:
            await ctx.delay(20e-6)
            ctx.set(self.board.dut.interrupt, int(self.now >= self.interrupt_at))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.simulator.run_until(self.now)

    def monotonic(self) -> float:
        return self.now

    @property
    def in_waiting(self) -> int:
        return len(self.board.received)

    def read(self, size: int = 1) -> bytes:
        end = self.now + self.timeout
        while len(self.board.received) < size and self.now < end:
            self.sleep(10 / self.baudrate)
        found = bytes(self.board.received[:size])
        del self.board.received[:size]
        return found

    def write(self, data: bytes) -> int:
        self._sending += [(byte, 1 / self.baudrate) for byte in self.to_board(data)]
        return len(data)

    def flush(self) -> None:
        while self._sending:
            self.sleep(10 / self.baudrate)
        self.sleep(20 / self.baudrate)

    def reset_input_buffer(self) -> None:
        self.board.received.clear()

    def close(self) -> None:
        pass


@pytest.fixture
def port(monkeypatch):
    found = SimulatedPort()
    monkeypatch.setattr(serial_link, "time", found)
    short = {"DEFAULT_BAUD": BAUD, "SILENCE_LOG2": 9, "GRACE": 1e-3, "SETTLE": 1e-4,
             "TEST_FRAMES": 2,
             "TEST_ENTRIES": 4}  # fmt: skip
    for name, value in short.items():
        monkeypatch.setattr(serial_link, name, value)
    return found


def test_driver_and_bridge(port):
    """Identity, rate, registers, memory at odd addresses, the interrupt; then broken frames."""
    link = SerialLink(port)
    assert link.identity == IDENTITY
    assert link.baud == FAST
    device = SerialDevice(link, seconds=1e-3)
    board, content = port.board, bytearray(port.board.content)
    values = np.random.default_rng(1).integers(0, 256, 60, np.uint8)

    def check(at: int) -> None:
        device.write_memory("x", at, values)
        content[at : at + len(values)] = values.tobytes()
        assert board.memory.data == content
        assert np.array_equal(device.read_memory("x", at, len(values)), values)
        device.write32(0x10, at)
        device.write32(0x14, 7)
        assert device.read32(0x10) == at

    check(0x123)
    assert link.broken == 0
    port.interrupt_at = start = port.now + 5e-4
    device.wait_interrupt()
    assert 0 <= port.now - start < 3e-4
    port.interrupt_at = 1e9
    with pytest.raises(DeviceError, match=r"no interrupt in 0\.001 s"):
        device.wait_interrupt()
    board.registers.clear()
    board.written.clear()
    port.to_board = Every(2, flip(-2), most=4)
    check(0x456)
    assert link.broken == 4
    assert board.written == [(0x10, 0x456), (0x14, 7)]


@pytest.mark.slow
@pytest.mark.board
def test_a_board_that_has_fallen_back(port):
    link = SerialLink(port)
    device = SerialDevice(link)
    port.sleep(1.1 * (1 << IDENTITY.idle_log2) / FAST)
    device.write32(0x10, 5)
    assert device.read32(0x10) == 5
    assert (link.baud, link.broken) == (FAST, 0)
