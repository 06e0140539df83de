"""Primitives of a kind of device: registers, memory, waiting; and registers by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import IntFlag
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.registers import KINDS, named, offsets

__all__ = ["POLLS", "Flags", "Primitives"]

POLLS = 100_000  # reads of the status before the device counts as hung


class Flags(IntFlag):
    """Bits of the register ``status``."""

    BUSY = 1
    DONE = 2
    DRAINED = 4
    BUS_FAULT = 8
    ILLEGAL = 16


class Primitives(ABC):
    """Registers and memory of an accelerator, read and written, and its interrupt.

    A kind of device implements the abstract methods. It is given back by :meth:`close`, at the end
    of a ``with`` block, or when nobody refers to it any more.

    Attributes
    ----------
    kinds
        Of layers of the hardware, which decide where most registers are: not the first ones, up to
        ``lane_base``.
    """

    kinds: tuple[str, ...] = KINDS

    @abstractmethod
    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""

    @abstractmethod
    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory; addresses are those that the accelerator sees."""

    @abstractmethod
    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory; addresses are those that the accelerator sees."""

    @abstractmethod
    def wait_interrupt(self) -> None:
        """Return when the interrupt is raised.

        Raises
        ------
        DeviceError
            If it will not come.
        """

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Find memory for a build; what an earlier one had is free again.

        Parameters
        ----------
        channels : {name: (bytes, alignment)}
            What it needs of each.

        Returns
        -------
        {name: int}
            Address at which each begins; by default 0.

        Raises
        ------
        DeviceError
            If there is not enough.
        """
        return dict.fromkeys(channels, 0)

    def transfer(self, steps: Sequence[tuple[int, int | None]]) -> list[int]:
        """Write and read registers by byte offset, in order.

        A device where an access takes long may carry all of them out at once, and again where it is
        not sure of the result; so that must do no harm.

        Parameters
        ----------
        steps : (offset, value or None)
            None reads.

        Returns
        -------
        list of int
            What was read.
        """
        found = []
        for offset, value in steps:
            if value is None:
                found.append(self.read32(offset))
            else:
                self.write32(offset, value)
        return found

    def reset_machine(self) -> None:
        """Reset the hardware; registers may be lost, memory is not.

        By default the pass that runs ends first, if it does, and only what was read ahead is lost.
        """
        for _ in range(POLLS):
            if not self.status & Flags.BUSY:
                break
        self.write("control", 0)

    @abstractmethod
    def close(self) -> None:
        """Give the device back; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Nobody can handle an error here, such as that of an object that was made in part.
        with suppress(Exception):
            self.close()

    # Registers by name.

    def read(self, name: str, index: int = 0) -> int:
        """Read a register, both halves where it is wide."""
        offset, words = self._offset(name, index)
        halves = self.transfer([(offset + 4 * n, None) for n in range(words)])
        return sum(half << 32 * n for n, half in enumerate(halves))

    def write(self, name: str, value: int | Sequence[int]) -> None:
        """Write a register, or the first of adjacent ones."""
        values = [value] if isinstance(value, int) else value
        for index, each in enumerate(values):
            offset, words = self._offset(name, index)
            if not 0 <= each < 1 << 32 * words:
                raise ValueError(f"{name} takes {32 * words} bits, not {each}")
            for n in range(words):
                self.write32(offset + 4 * n, each >> 32 * n & 0xFFFFFFFF)

    @property
    def status(self) -> Flags:
        """Status of the device."""
        return Flags(self.read("status"))

    def hangs(self, why: str) -> DeviceError:
        """Error of a machine that is not done, with the units that have work."""
        mask, units = self.read("units"), instructions(self.kinds).units
        working = [name for n, name in enumerate(units) if mask >> n & 1]
        return DeviceError(f"{why}; units that have work: {', '.join(working) or 'none'}")

    def _offset(self, name: str, index: int) -> tuple[int, int]:
        """Byte offset and 32-bit words of a register."""
        register = named(self.kinds)[name]
        if not 0 <= index < register.count:
            raise ValueError(f"there are {register.count} {name}, not {index + 1}")
        words = 1 + register.wide
        return offsets(self.kinds)[name] + 4 * words * index, words
