"""A board under Linux: registers through UIO, memory through u-dma-buf.

Both are given by the device tree of the package: a ``generic-uio`` node named ``lightmamba`` with
the registers and the interrupt, and for each channel of memory a u-dma-buf (ikwzm/udmabuf) named
``lightmamba-CHANNEL``, contiguous and away from Linux. Nothing of a vendor is needed at run time.
"""

import ctypes
import mmap
import os
import select
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.host.device import Device
from lightmamba.hardware.machine.artifact import Artifact

__all__ = ["Buffer", "UioDevice", "UioWindow", "open_uio"]

NAME = "lightmamba"
SYS, DEV = Path("/sys/class"), Path("/dev")
SECONDS = 30.0  # that a start may take before the device counts as hung


class UioWindow:
    """The registers of the accelerator, mapped from a UIO device, and its interrupt.

    Parameters
    ----------
    device : Path
        /dev/uioN.
    size : int
        Bytes of the registers.

    Raises
    ------
    InputError
        If it cannot be opened or mapped.
    """

    def __init__(self, device: Path, size: int) -> None:
        try:
            self._file = os.open(device, os.O_RDWR | os.O_SYNC)
        except OSError as error:
            raise InputError(
                f"cannot open {device}: {error.strerror}; run as a user who may use it"
            ) from error
        try:
            self._memory = mmap.mmap(self._file, size)
        except (OSError, ValueError) as error:
            os.close(self._file)
            raise InputError(f"cannot map {size} bytes of {device}: {error}") from error
        self._words = (ctypes.c_uint32 * (size // 4)).from_buffer(self._memory)

    def read(self, offset: int) -> int:
        """Read 32 bits, in one access."""
        return int(self._words[offset // 4])

    def write(self, offset: int, value: int) -> None:
        """Write 32 bits, in one access."""
        self._words[offset // 4] = value

    def wait(self, seconds: float) -> bool:
        """Unmask the interrupt and wait for it; whether it came.

        One that was counted before is of a pass that nobody waits for any more. The line keeps its
        level until the host acknowledges it, so unmasking brings one that still counts again.
        """
        self._came(0)
        os.write(self._file, b"\x01\0\0\0")
        return self._came(seconds)

    def _came(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._file], [], [], seconds)
        if ready:
            os.read(self._file, 4)
        return bool(ready)

    def close(self) -> None:
        """Unmap the registers."""
        del self._words
        self._memory.close()
        os.close(self._file)


class Buffer:
    """Contiguous memory of one channel.

    Parameters
    ----------
    name : str
        Of the u-dma-buf.
    system, devices : Path
        ``/sys/class`` and ``/dev``.

    Raises
    ------
    InputError
        If there is none of this name.
    """

    def __init__(self, name: str, system: Path = SYS, devices: Path = DEV) -> None:
        folder = system / "u-dma-buf" / name
        try:
            self.address = int((folder / "phys_addr").read_text(), 0)
            self.size = int((folder / "size").read_text(), 0)
            file = os.open(devices / name, os.O_RDWR | os.O_SYNC)
        except OSError as error:
            raise InputError(
                f"there is no memory {name} ({error.strerror}: {error.filename}); load the "
                f"package's device tree and the module u-dma-buf, as its README says"
            ) from error
        except ValueError as error:
            raise InputError(f"{folder} does not say where its memory lies") from error
        try:
            self._memory = mmap.mmap(file, self.size)
        finally:
            os.close(file)
        self.bytes = np.frombuffer(self._memory, np.uint8)

    def close(self) -> None:
        """Unmap it."""
        self.bytes = np.zeros(0, np.uint8)
        self._memory.close()


class UioDevice(Device):
    """An accelerator behind UIO and u-dma-buf.

    Parameters
    ----------
    window : UioWindow
        Its registers.
    buffers : {channel: Buffer}
        Memory of each channel of the build.
    seconds : float
        Longest time that a start may take.
    """

    def __init__(
        self, window: UioWindow, buffers: Mapping[str, Buffer], *, seconds: float = SECONDS
    ) -> None:
        super().__init__()
        self.window, self.buffers, self.seconds = window, buffers, seconds
        self._open = True

    def close(self) -> None:
        """Stop the accelerator and give everything back, whatever of it fails."""
        if self._open:
            self._open = False
            with ExitStack() as kept:
                for buffer in self.buffers.values():
                    kept.callback(buffer.close)
                kept.callback(self.window.close)
                self.write("control", 0)

    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""
        return self.window.read(offset)

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""
        self.window.write(offset, value)

    def _part(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        buffer = self.buffers[channel]
        at = address - buffer.address
        if not 0 <= at <= at + count <= buffer.size:
            raise DeviceError(f"{channel} has no {count} bytes at {address:#x}")
        return buffer.bytes[at : at + count]

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory."""
        return self._part(channel, address, count).copy()

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory."""
        self._part(channel, address, len(values))[:] = values

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Begin each channel at the first aligned address of its buffer."""
        found = {}
        for name, (size, alignment) in channels.items():
            if name not in self.buffers:
                raise DeviceError(f"there is no memory for channel {name}")
            buffer = self.buffers[name]
            found[name] = -(-buffer.address // alignment) * alignment
            if found[name] + size > buffer.address + buffer.size:
                raise DeviceError(
                    f"channel {name} needs {size:,} bytes aligned to {alignment:,}, but the "
                    f"buffer at {buffer.address:#x} has {buffer.size:,}; make it larger in the "
                    f"device tree"
                )
        return found

    def wait_interrupt(self) -> None:
        """Sleep until the interrupt."""
        if not self.window.wait(self.seconds):
            raise self.hangs(f"no interrupt in {self.seconds:g} s")


def _window(system: Path, devices: Path) -> UioWindow:
    """The UIO device named :data:`NAME`."""
    for folder in sorted((system / "uio").glob("uio*")):
        try:
            if (folder / "name").read_text().strip() != NAME:
                continue
            size = int((folder / "maps/map0/size").read_text(), 0)
        except (OSError, ValueError):
            continue
        return UioWindow(devices / folder.name, size)
    raise InputError(
        f"there is no UIO device {NAME} under {system / 'uio'}; load the package's bitstream and "
        f"device tree, as its README says"
    )


def open_uio(
    artifact: Artifact, *, system: str = str(SYS), devices: str = str(DEV), seconds: float = SECONDS
) -> UioDevice:
    """Open the accelerator of this machine, with memory for the channels of a build.

    Raises
    ------
    InputError
        If there is none, or its memory is missing.
    """
    with ExitStack() as opened:
        window = _window(Path(system), Path(devices))
        opened.callback(window.close)
        buffers = {}
        for channel in artifact.target.channels:
            buffer = Buffer(f"{NAME}-{channel.name}", Path(system), Path(devices))
            opened.callback(buffer.close)
            buffers[channel.name] = buffer
        device = UioDevice(window, buffers, seconds=float(seconds))
        opened.pop_all()
    return device
