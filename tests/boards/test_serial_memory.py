"""The search for the phase of a memory's clock, on a board that works at some phases only."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError
from lightmamba.device.boards.serial_device import Window, memory_works, tune, window_of

TURN = 48
SIZE = 1 << 16


class Board:
    """Memory that holds what is written only at the phases of its windows, after a reset."""

    memory_bytes, turn = SIZE, TURN

    def __init__(self, *windows: tuple[int, int, int]) -> None:
        self.good = {(c, (first + n) % TURN) for c, first, count in windows for n in range(count)}
        self.registers = {"phase_steps": 42, "capture": 1, "loaded": 77}
        self.reset_at = (-1, -1)
        self.memory = np.zeros(SIZE, np.uint8)

    @property
    def at(self) -> tuple[int, int]:
        return self.registers["capture"], self.registers["phase_steps"]

    def board_register(self, name: str, value: int | None = None) -> int:
        if value is None:
            return self.registers[name]
        if name == "phase":
            assert value == 3, "only ever later"
            self.registers["phase_steps"] = (self.registers["phase_steps"] + 1) % TURN
        elif name == "reset":
            self.reset_at = self.at
        else:
            self.registers[name] = value
        return value

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        found = self.memory[address : address + count].copy()
        if self.at not in self.good or self.reset_at != self.at:
            found[::7] ^= 1
        return found

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        assert address >= SIZE - 4096, "only the end of memory is tested"
        self.memory[address : address + len(values)] = values


@pytest.mark.parametrize(
    ("windows", "best"),
    [
        ([(1, 10, 20)], (1, 20)),
        ([(0, 3, 5), (2, 30, 11)], (2, 35)),
        ([(3, 40, 16)], (3, 0)),  # around the end
        ([(1, 0, TURN)], (1, 24)),
    ],
)
def test_the_middle_of_the_longest_window(
    windows: list[tuple[int, int, int]], best: tuple[int, int]
) -> None:
    board: Any = Board(*windows)
    found = tune(board)
    assert board.at == best == (found.capture, found.middle)
    assert board.reset_at == best
    assert board.registers["loaded"] == 0, "what memory held is lost"
    assert memory_works(board)


def test_no_phase_is_one_sentence() -> None:
    board: Any = Board()
    with pytest.raises(DeviceError, match=r"^the board's memory works at no phase of its clock"):
        tune(board)


def test_one_search_after_another() -> None:
    board: Any = Board((1, 10, 20))
    assert {tune(board).middle for _ in range(4)} == {20}
    assert board.at == (1, 20)


def test_windows_around_the_end() -> None:
    good = np.zeros(TURN, bool)
    good[[46, 47, 0, 1, 2, 20]] = True
    assert list(window_of(good, 1)) == [Window(1, 20, 1, TURN), Window(1, 46, 5, TURN)]
    assert list(window_of(np.zeros(TURN, bool), 0)) == []


def test_a_memory_that_fails_does_not_work() -> None:
    board: Any = Board((1, 10, 1))
    assert not memory_works(board)
