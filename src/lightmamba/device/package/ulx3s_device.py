"""The device ``ulx3s-sim``: a simulated ULX3S, from its serial line to the pins of its SDRAM."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards.serial_device import SerialDevice
from lightmamba.device.boards.serial_link import SerialLink
from lightmamba.device.boards.serial_ulx3s import check_board
from lightmamba.device.package.board import Board
from lightmamba.device.package.design import Design, design
from lightmamba.device.package.ecp5 import pll, system_verilog
from lightmamba.device.sim.board import SimulatedBoard, build_board
from lightmamba.device.sim.device import verilog_of
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.serial import DEFAULT_BAUD

__all__ = ["SimulatedUlx3s", "open_simulated_ulx3s", "simulated_ulx3s"]

NAME = "the simulated board"
FASTEST = 4  # cycles of a bit: the shortest that the board's receiver takes
DRAIN = 10e-6  # seconds that writes take from the memory controller's queues to the chip, at most
SECONDS = 5.0  # of simulated time that a start may take


class SimulatedUlx3s(SerialDevice):
    """The driver of the board on its simulation, which sees whether the SDRAM's rules are kept.

    Registers, starts and interrupts go over the simulated serial line. Memory goes over it too if
    ``line`` is set; else it is read and written in the model of the SDRAM, which takes no time.

    Parameters
    ----------
    link : SerialLink
        To the board.
    board : SimulatedBoard
    made : Design
        The build on its board.
    line : bool
        Whether memory is read and written over the serial line, as on a board.
    """

    def __init__(
        self,
        link: SerialLink,
        board: SimulatedBoard,
        made: Design,
        *,
        line: bool = False,
    ) -> None:
        super().__init__(link, seconds=SECONDS)
        self.board, self.made, self.line = board, made, line

    def wait_interrupt(self) -> None:
        """Wait as on a board; then the SDRAM must have seen no violation.

        Raises
        ------
        DeviceError
            If no interrupt comes, or a rule of the SDRAM was broken.
        """
        super().wait_interrupt()
        if broken := self.board.violations:
            raise DeviceError(f"a rule of the SDRAM was broken: {broken.splitlines()[0]}")

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of memory."""
        if self.line:
            return super().read_memory(channel, address, count)
        return self._bytes(address, count).copy()

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into memory."""
        if self.line:
            super().write_memory(channel, address, values)
        else:
            self._bytes(address, len(values))[:] = values

    def _bytes(self, address: int, count: int) -> NDArray[np.uint8]:
        """Bytes of the chip, when all that was sent to it before is there."""
        self._inside(address, count)
        self._ask()
        self.board.sleep(DRAIN)
        return self.board.memory[address : address + count]


def simulated_ulx3s(
    made: Design,
    verilog: str,
    *,
    line: bool = False,
    divisor: int = FASTEST,
    cache: Path | None = None,
) -> SimulatedUlx3s:
    """Simulate a board; its build is not loaded.

    Parameters
    ----------
    made
        The build on its board.
    verilog
        Of the system and of the accelerator.
    line
        Whether memory is read and written over the serial line.
    divisor
        Cycles of the accelerator's clock in a bit of the serial line.
    cache
        As of :func:`lightmamba.device.sim.library.build_library`.

    Raises
    ------
    InputError
        If the divisor is out of range, a tool is missing, or the Verilog is of another build.
    """
    slowest = made.clock_hz // (2 * DEFAULT_BAUD)
    if not FASTEST <= divisor <= slowest:
        raise InputError(
            f"divisor must be {FASTEST} to {slowest} cycles of a bit at {made.clock_mhz} MHz, "
            f"not {divisor}"
        )
    library = build_board(verilog, cache=cache)
    with ExitStack() as opened:
        board = SimulatedBoard(
            library, clock_hz=made.clock_hz, memory_clock_hz=made.board.memory_mhz * 1e6,
            step_ps=pll(made).step_ps,
        )  # fmt: skip
        opened.callback(board.close)
        baud = made.clock_hz // divisor
        link = SerialLink(board, name=NAME, baud=baud, clock=board, simulated=True)
        check_board(link, made.artifact)
        device = SimulatedUlx3s(link, board, made, line=line)
        opened.pop_all()
    return device


def open_simulated_ulx3s(
    artifact: Artifact, *, line: int = 0, divisor: int = FASTEST, cache: str = ""
) -> SimulatedUlx3s:
    """Simulate the board of a build: the device ``ulx3s-sim``.

    By default memory is read and written in the model of the SDRAM directly. So weights need no
    time to load, but the line and the bridge carry registers and interrupts only.

    Parameters
    ----------
    artifact
        The build, for the target of a ULX3S.
    line
        1: memory is read and written over the serial line, as on a board: a kilobyte takes a
        second and more.
    divisor
        Cycles of a bit of the serial line: 4 is the highest rate that the board has, 20 at 60 MHz
        that of the board's USB bridge.
    cache
        Folder of built simulators.

    Raises
    ------
    InputError
        If the build is for another board, an option is out of range, or a tool is missing.
    """
    if int(line) not in (0, 1):
        raise InputError(f"line must be 0 or 1, not {line}")
    made = design(artifact, Board.load("ulx3s"))
    kept = Path(cache) if cache else None
    verilog = f"{system_verilog(made)}\n{verilog_of(artifact, kept)}"
    return simulated_ulx3s(
        made, verilog, line=bool(int(line)), divisor=int(divisor), cache=kept
    )  # fmt: skip
