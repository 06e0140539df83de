"""An accelerator behind a serial line, and the search for the phase of its memory's clock."""

import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.place import Region
from lightmamba.common.errors import DeviceError
from lightmamba.device.boards.serial_link import SerialLink
from lightmamba.device.host.device import Device
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.serial import (
    BLOCK,
    CAPTURES,
    ENTRY,
    UNIT,
    Operation,
    Request,
    Status,
    entry,
    soc_offset,
)

__all__ = ["SerialDevice", "Window", "memory_works", "tune", "window_of"]

log = logging.getLogger(__name__)
SLICE = 0.25  # seconds that the board waits for the interrupt before it says so
POSTED = BLOCK // ENTRY  # writes to registers of one request
CHUNK = 1 << 14  # bytes of an image between two reports of progress
SPOT = 64  # bytes at both ends of an image that are compared before it counts as loaded
TESTED = 4096  # bytes at the end of memory: a part of each bank
EACH = 256  # bytes of a pattern in the search for a phase


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


class SerialDevice(Device):
    """An accelerator on a board behind a serial line.

    Writes to registers are kept and sent together with the next other access, so what is started
    begins when it is waited for. Memory is one range of addresses, in which the channels of a build
    lie one after the other.

    Parameters
    ----------
    link : SerialLink
        The board.
    seconds : float
        Longest time that a start may take.
    fresh : bool
        Load weights even where the board says that it has them.
    scan : bool
        Search for the best phase of the memory's clock, even if memory works as it is.

    Attributes
    ----------
    chunk
        Bytes between two reports of progress.
    kept
        Whether the last ``load`` found the weights in memory.
    """

    chunk = CHUNK

    def __init__(
        self, link: SerialLink, *, seconds: float = 30.0, fresh: bool = False, scan: bool = False
    ) -> None:
        self._open = False  # until everything is there: `close` may come before
        super().__init__()
        self.link, self.seconds, self.fresh, self.kept = link, seconds, fresh, False
        self.scan = scan
        self._posted: list[bytes] = []
        self._images: list[tuple[int, int]] = []  # ranges of memory, while they count as loaded
        self._open = True

    def close(self) -> None:
        """Stop the accelerator and give the port back, also that of a board that is gone."""
        if self._open:
            self._open = False
            try:
                if not self.link.gone:
                    self.write("control", 0)
                    self._ask()
            except DeviceError as error:
                log.warning("%s", error)
            finally:
                self.link.close()

    # Registers.

    def _ask(self, *requests: Request) -> list[bytes]:
        """Send the writes that are kept, then requests; payloads of their answers."""
        writes = []
        if self._posted:
            entries = b"".join(self._posted)
            self._posted.clear()
            writes.append(Request(Operation.WRITE_REGISTERS, 0, payload=entries))
        return [answer.payload for answer in self.link.ask(*writes, *requests)][len(writes) :]

    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""
        return self.transfer([(offset, None)])[0]

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset, at the next other access."""
        self._posted.append(entry(offset, value))
        if len(self._posted) == POSTED:
            self._ask()

    def transfer(self, steps: Sequence[tuple[int, int | None]]) -> list[int]:
        """Write and read registers in order, many with one request."""
        requests = []
        for at in range(0, len(steps), POSTED):
            entries = b"".join(entry(*step) for step in steps[at : at + POSTED])
            requests.append(Request(Operation.REGISTERS, 0, payload=entries))
        values = np.frombuffer(b"".join(self._ask(*requests)), "<u4").tolist()
        return [value for value, (_, given) in zip(values, steps, strict=True) if given is None]

    def board_register(self, name: str, value: int | None = None) -> int:
        """Read a register of the board itself (``SOC_REGISTERS``), or write it once."""
        if value is None:
            return self.read32(soc_offset(name))
        self.write32(soc_offset(name), value)
        self._ask()
        return value

    def wait_interrupt(self) -> None:
        """Wait until the board says that the interrupt came; nothing is polled."""
        left = self.seconds
        self._ask()
        while left > 0:
            (answer,) = self.link.ask(self.link.wait_request(min(left, SLICE)))
            if answer.status == Status.OK:
                return
            left -= SLICE
        raise self.hangs(f"no interrupt in {self.seconds:g} s")

    # Memory.

    @property
    def memory_bytes(self) -> int:
        """Bytes of the board's memory."""
        return 1 << self.link.identity.memory_log2

    @property
    def turn(self) -> int:
        """Steps of the phase of the memory's clock that are a whole period."""
        return self.link.identity.turn

    def _inside(self, address: int, count: int) -> None:
        if not 0 <= address <= address + count <= self.memory_bytes:
            raise DeviceError(
                f"the board's memory of {self.memory_bytes:,} bytes has no {count:,} at "
                f"{address:#x}"
            )

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of memory."""
        self._inside(address, count)
        first, end = address // UNIT * UNIT, -(-(address + count) // UNIT) * UNIT
        self._ask()
        requests = (
            Request(Operation.READ_MEMORY, 0, at, min(BLOCK, end - at))
            for at in range(first, end, BLOCK)
        )
        whole = b"".join(answer.payload for answer in self.link.exchange(requests))
        return np.frombuffer(whole, np.uint8)[address - first :][:count].copy()

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into memory; words of eight bytes that are covered in part are read first."""
        self._inside(address, len(values))
        if not len(values):
            return
        data = np.ascontiguousarray(values).tobytes()
        end = address + len(data)
        if any(address < stop and start < end for start, stop in self._images):
            self._images = []
            self.board_register("loaded", 0)
        before, behind = address % UNIT, -end % UNIT
        if before:
            data = self.read_memory(channel, address - before, before).tobytes() + data
        if behind:
            data += self.read_memory(channel, end, behind).tobytes()
        first = address - before
        self._ask()
        requests = (
            Request(Operation.WRITE_MEMORY, 0, first + at, payload=data[at : at + BLOCK])
            for at in range(0, len(data), BLOCK)
        )
        for _ in self.link.exchange(requests):
            pass

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Lay the channels one after the other.

        Raises
        ------
        DeviceError
            If memory is too small for them.
        """
        found, at = {}, 0
        for name, (size, alignment) in channels.items():
            found[name] = -(-at // alignment) * alignment
            at = found[name] + size
        if at > self.memory_bytes:
            raise DeviceError(
                f"the build needs {at:,} bytes of memory with these sequences, but the board has "
                f"{self.memory_bytes:,}; ask for fewer sequences, or take a smaller model"
            )
        return found

    # Loading.

    def place(self, artifact: Artifact, regions: Sequence[Region]) -> None:
        """Bring the images of a build into memory, unless they are there since an earlier run.

        Memory is tested first, and the phase of its clock searched if it does not work.
        """
        if self.scan or not memory_works(self):
            self.scan = False
            tune(self)
        images = [region for region in regions if region.file is not None and region.bytes]
        places = [(region.name, self.address(region), region.bytes) for region in images]
        text = json.dumps([artifact.fingerprint, places])
        mark = zlib.crc32(text.encode()) or 1
        self.kept = not self.fresh and self.board_register("loaded") == mark
        self.kept = self.kept and all(self._begins(artifact, region) for region in images)
        if self.kept:
            log.info("the weights are still in the board's memory")
        else:
            with self._loading(mark):
                super().place(artifact, regions)
        self._images = [(at, at + size) for _, at, size in places]

    @contextmanager
    def _loading(self, mark: int) -> Iterator[None]:
        """Mark memory as loaded when it is, and as not loaded until then."""
        self._images = []
        self.board_register("loaded", 0)
        yield
        self.board_register("loaded", mark)

    def _begins(self, artifact: Artifact, region: Region) -> bool:
        """Whether memory has both ends of an image."""
        image, base = artifact.image(region), self.address(region)
        for at in {0, max(0, len(image) - SPOT)}:
            part = np.asarray(image[at : at + SPOT])
            if not np.array_equal(self.read_memory(region.channel, base + at, len(part)), part):
                return False
        return True


def memory_works(board: SerialDevice, seed: int = 0, size: int = TESTED) -> bool:
    """Whether the end of memory holds a random pattern; what was there is lost."""
    pattern = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    pattern[: size // 4 : 2], pattern[1 : size // 4 : 2] = 0x55, 0xAA  # every line, all at once
    at = board.memory_bytes - TESTED
    board.write_memory("", at, pattern)
    return bool(np.array_equal(board.read_memory("", at, size), pattern))


def tune(board: SerialDevice) -> Window:
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


def _go(board: SerialDevice, step: int, capture: int) -> None:
    """Move the clock to a phase, and start the memory again."""
    now = board.board_register("phase_steps")
    for _ in range((step - now) % board.turn):
        board.board_register("phase", 3)
    board.board_register("capture", capture)
    board.board_register("reset", 1)
