"""Phase of the SDRAM's clock: a test of the memory, and a search for the settings that pass it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError
from lightmamba.hardware.machine.serial import CAPTURES

__all__ = ["Tunable", "Window", "memory_works", "tune", "window_of"]

log = logging.getLogger(__name__)
TESTED = 4096  # bytes at the end of memory: a part of each bank
EACH = 256  # bytes of a pattern in the search


class Tunable(Protocol):
    """A board whose memory is tuned."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory."""
        ...

    @property
    def turn(self) -> int:
        """Steps of the phase that are a whole period."""
        ...

    def board_register(self, name: str, value: int | None = None) -> int:
        """Read or write a register of the board."""
        ...

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Read memory."""
        ...

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Write memory."""
        ...


@dataclass(frozen=True)
class Window:
    """Phases, one after the other, at which memory works.

    Parameters
    ----------
    capture : int
        Setting of when data are taken.
    first, count : int
        The first phase, in steps after that of the configuration, and how many there are.
    turn : int
        Steps of a whole period.
    """

    capture: int
    first: int
    count: int
    turn: int

    @property
    def middle(self) -> int:
        """Phase in the middle."""
        return (self.first + self.count // 2) % self.turn

    def __str__(self) -> str:
        degrees = 360 / self.turn
        return (
            f"capture {self.capture}, {self.count * degrees:.0f} degrees around "
            f"{self.middle * degrees:+.0f} degrees from the phase after configuration"
        )


def memory_works(board: Tunable, seed: int = 0, size: int = TESTED) -> bool:
    """Whether the end of memory holds a random pattern; what was there is lost."""
    pattern = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    pattern[: size // 4 : 2], pattern[1 : size // 4 : 2] = 0x55, 0xAA  # every line, all at once
    at = board.memory_bytes - TESTED
    board.write_memory("", at, pattern)
    return bool(np.array_equal(board.read_memory("", at, size), pattern))


def tune(board: Tunable) -> Window:
    """Try every phase with every capture, and take the middle of the longest window.

    The accelerator and the memory's controller are reset at each phase, so what memory held is
    lost. The clock is only moved later, which makes no short pulses.

    Parameters
    ----------
    board
        Its phase is that of the configuration plus ``phase_steps``, which is less than ``turn``.

    Raises
    ------
    DeviceError
        If memory works at no phase, or at the best one at times only.
    """
    board.board_register("loaded", 0)
    good = np.zeros((CAPTURES, board.turn), bool)
    for n, (step, capture) in enumerate(product(range(board.turn), range(CAPTURES))):
        _go(board, step, capture)
        good[capture, step] = memory_works(board, n, EACH)
    windows = [one for n, phases in enumerate(good) for one in window_of(phases, n)]
    if not windows:
        raise DeviceError(
            "the board's memory works at no phase of its clock; is the bitstream for this version "
            "of the board, and does another bitstream find the memory?"
        )
    best = max(windows, key=lambda window: window.count)
    _go(board, best.middle, best.capture)
    if not memory_works(board):
        raise DeviceError(f"the board's memory works at times only: {best}")
    log.info("memory: %s", best)
    return best


def window_of(good: NDArray[np.bool_], capture: int) -> Iterator[Window]:
    """Runs of phases that are good, around the end to the beginning, too."""
    turn = len(good)
    if good.all():
        yield Window(capture, 0, turn, turn)
        return
    for first in range(turn):
        if good[first] and not good[first - 1]:
            count = next(n for n in range(1, turn + 1) if not good[(first + n) % turn])
            yield Window(capture, first, count, turn)


def _go(board: Tunable, step: int, capture: int) -> None:
    """Move the clock to a phase, and start the memory again."""
    now = board.board_register("phase_steps")
    for _ in range((step - now) % board.turn):
        board.board_register("phase", 3)
    board.board_register("capture", capture)
    board.board_register("reset", 1)
