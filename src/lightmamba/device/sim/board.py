"""A simulated ULX3S: the system's RTL between a serial line and a model of its SDRAM."""

import ctypes
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.device.sim.library import FAST, FOLDER, build_library
from lightmamba.device.sim.sdram_chips import Limits, limits
from lightmamba.hardware.machine.serial import DEFAULT_BAUD
from lightmamba.hardware.soc.board import INSIDE, SHIFT

__all__ = ["SimulatedBoard", "build_board"]

HARNESS = FOLDER / "board.cpp"
DESIGN = "#pragma once\n"  # the harness names the signals itself
MEMORY = 32 << 20
SECOND = 1e12  # in picoseconds
PICOSECOND = 1e-12  # the shortest time that passes
# Of the pads and lines of the board, from the clock's pad to the data that come back: a choice.
ROUND_TRIP_PS = 6000.0
SLICE = 1e-3  # seconds between two chances to interrupt from the keyboard


class Setup(ctypes.Structure):
    """BoardSetup of ``board.cpp``, in picoseconds."""

    _fields_ = (
        *((n, ctypes.c_double) for n in ("sync", "sdram", "shift", "step", "round_trip", "bit")),
        ("chip", Limits),
    )


def build_board(verilog: str, *, cache: Path | None = None, level: str = FAST) -> Path:
    """Compile a board's Verilog with its harness, or find it in the cache.

    Parameters
    ----------
    verilog
        Modules of :mod:`lightmamba.hardware.soc.ulx3s` and of the accelerator, or a netlist with a
        module ``inside``.
    cache, level
        As of :func:`lightmamba.device.sim.library.build_library`.

    Raises
    ------
    InputError
        If a tool is missing or fails.
    """
    pads = (FOLDER / "pads.v").read_text(encoding="utf-8")
    return build_library(
        f"{verilog}\n{pads}", INSIDE, HARNESS, lambda _: DESIGN, (DESIGN,), cache=cache, level=level
    )


class SimulatedBoard:
    """A board in Verilator, as a serial port and as its clock.

    The model of its SDRAM has the limits of all chips that boards were shipped with.

    Time passes only while the host waits for characters or sleeps. What is written is on the line
    from then on.

    Parameters
    ----------
    library : Path
        Of :func:`build_board`.
    clock_hz, memory_clock_hz : float
        Of the machine and of the SDRAM.
    step_ps : float
        By which a step moves the phase of the chip's clock.
    shift : float
        Of the SDRAM's period: how far the chip's clock is behind the controller's at first.
    round_trip_ps : float
        Delay of what comes back from the chip.

    Attributes
    ----------
    baudrate, timeout
        As of pyserial's ``Serial``.
    """

    def __init__(
        self, library: Path, *, clock_hz: float, memory_clock_hz: float, step_ps: float,
        shift: float = SHIFT, round_trip_ps: float = ROUND_TRIP_PS,
    ) -> None:  # fmt: skip
        self._library = _opened(library)
        period = SECOND / memory_clock_hz
        setup = Setup(
            SECOND / clock_hz, period, shift * period, step_ps, round_trip_ps,
            SECOND / DEFAULT_BAUD, limits(),
        )  # fmt: skip
        self._board = self._library.board_new(ctypes.byref(setup))
        self._baud, self.timeout = DEFAULT_BAUD, 1.0

    # As a port.

    @property
    def baudrate(self) -> int:
        """Rate of the line at the host."""
        return self._baud

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self._baud = baud
        self._library.board_bit(self._live(), SECOND / baud)

    @property
    def in_waiting(self) -> int:
        """Characters that can be read at once."""
        return int(self._library.board_run(self._live(), 0, 0.0))

    def read(self, size: int = 1) -> bytes:
        """Read up to ``size`` characters; time passes until they are here, or the timeout."""
        self._run(size, self.timeout)
        buffer = (ctypes.c_uint8 * size)()
        count = self._library.board_take(self._live(), buffer, size)
        return bytes(buffer[:count])

    def write(self, data: bytes) -> int:
        """Put characters on the line."""
        self._library.board_send(self._live(), bytes(data), len(data))
        return len(data)

    def flush(self) -> None:
        """Let time pass until everything has been sent."""
        self._library.board_flush(self._live())

    def reset_input_buffer(self) -> None:
        """Drop what was received."""
        while count := self.in_waiting:
            self._library.board_take(self._live(), (ctypes.c_uint8 * count)(), count)

    def close(self) -> None:
        """Free the simulator."""
        if self._board:
            self._library.board_free(self._board)
            self._board = None

    # As a clock.

    def monotonic(self) -> float:
        """Seconds of simulated time."""
        return float(self._library.board_now(self._live())) / SECOND

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._run(1 << 62, seconds)

    def _run(self, wanted: int, seconds: float) -> None:
        """Let time pass, at most ``seconds``, until ``wanted`` characters wait to be read."""
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > PICOSECOND:
            if self._library.board_run(self._live(), wanted, min(left, SLICE) * SECOND) >= wanted:
                return

    # What only a simulation has.

    @property
    def memory(self) -> NDArray[np.uint8]:
        """All bytes of the SDRAM, to read and to fill, by their addresses in the chip."""
        pointer = self._library.board_memory(self._live())
        return np.ctypeslib.as_array(pointer, (MEMORY,))

    @property
    def leds(self) -> int:
        """LEDs, the first in the lowest bit."""
        return int(self._library.board_leds(self._live()))

    @property
    def refreshes(self) -> int:
        """Refreshes of the chip so far."""
        return int(self._library.board_refreshes(self._live()))

    @property
    def violations(self) -> str:
        """Rules of the chip that were broken, a line each; empty if none was."""
        text: bytes = self._library.board_violations(self._live())
        return text.decode()

    def _live(self) -> int:
        if not self._board:
            raise InputError("the simulated board was closed")
        return int(self._board)


@functools.cache
def _opened(library: Path) -> ctypes.CDLL:
    """Load a library, with the types of its functions."""
    found = ctypes.CDLL(str(library))
    pointer, number, time = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_double
    data = ctypes.POINTER(ctypes.c_uint8)
    types = {
        "new": (pointer, [ctypes.POINTER(Setup)]),
        "free": (None, [pointer]),
        "memory": (data, [pointer]),
        "send": (None, [pointer, ctypes.c_char_p, number]),
        "take": (number, [pointer, data, number]),
        "run": (number, [pointer, number, time]),
        "flush": (None, [pointer]),
        "bit": (None, [pointer, time]),
        "now": (time, [pointer]),
        "leds": (ctypes.c_uint32, [pointer]),
        "broken": (number, [pointer]),
        "refreshes": (number, [pointer]),
        "violations": (ctypes.c_char_p, [pointer]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(found, f"board_{name}")
        function.restype, function.argtypes = result, arguments
    return found
