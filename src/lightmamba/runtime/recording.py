"""Record what a driver does with a device, and play it back.

A recording is a file of JSON lines: one per call of a device's primitives, with what was given and
what came back; contents of memory as their hash, and as they are where the driver read something
else than what it had written there in one piece. The recording of a simulated session, played back,
holds a driver to it call by call; that of a board is what a bug report needs.
"""

import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import DeviceError, InputError, shown
from lightmamba.runtime.device import Device

__all__ = ["RecordingDevice", "ReplayDevice"]

FORMAT = {"lightmamba recording": 2}
Piece = tuple[str, int, int]  # channel, address, bytes


def _hash(values: NDArray[np.uint8]) -> str:
    return sha256(np.ascontiguousarray(values).data).hexdigest()


class RecordingDevice(Device):
    """Another device, whose every call is written to a file.

    Parameters
    ----------
    device : Device
        Does the work; use only this one while it is recorded.
    path : Path

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def __init__(self, device: Device, path: Path) -> None:
        super().__init__()
        self.device, self._file = device, -1
        self._written: dict[Piece, str] = {}
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise InputError(f"cannot write the recording {path}: {error.strerror}") from error
        self._write(FORMAT)

    def close(self) -> None:
        """Close the file; the device stays open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, entry: Mapping[str, Any]) -> None:
        # Not buffered: of a device that hangs, the last call is what matters.
        line = memoryview((json.dumps(entry, separators=(",", ":")) + "\n").encode())
        while line:
            line = line[os.write(self._file, line) :]

    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""
        value = self.device.read32(offset)
        self._write({"call": "read32", "offset": offset, "gives": value})
        return value

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""
        self._write({"call": "write32", "offset": offset, "value": value})
        self.device.write32(offset, value)

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory."""
        values = self.device.read_memory(channel, address, count)
        packed = None
        if self._written.get((channel, address, count)) != _hash(values):
            packed = b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 1)).decode()
        self._write({"call": "read_memory", "channel": channel, "address": address,
                     "count": count, "gives": packed})  # fmt: skip
        return values

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory."""
        hashed = self._written[channel, address, len(values)] = _hash(values)
        self._write({"call": "write_memory", "channel": channel, "address": address,
                     "count": len(values), "sha256": hashed})  # fmt: skip
        self.device.write_memory(channel, address, values)

    def wait_interrupt(self) -> None:
        """Wait until the interrupt is raised."""
        self._write({"call": "wait_interrupt"})
        self.device.wait_interrupt()

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Find memory for a build."""
        found = self.device.allocate(channels)
        wanted = {name: list(both) for name, both in channels.items()}
        self._write({"call": "allocate", "channels": wanted, "gives": dict(found)})
        return found

    def reset_machine(self) -> None:
        """Reset the hardware."""
        self._write({"call": "reset_machine"})
        self.device.reset_machine()


class ReplayDevice(Device):
    """A recording in the place of a device: every call must be the one that was recorded.

    Parameters
    ----------
    path : Path
        What :class:`RecordingDevice` wrote.

    Raises
    ------
    InputError
        If it is no recording.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.calls = Path(path), 0
        self._written: dict[Piece, NDArray[np.uint8]] = {}
        try:
            self._lines = iter(self.path.read_text(encoding="ascii").splitlines())
            first = self._next()
        except (OSError, UnicodeDecodeError, DeviceError) as error:
            raise InputError(f"{path} is not a recording of a device ({error})") from error
        if first != FORMAT:
            raise InputError(f"{path} is not a recording of a device that this program reads")
        self.calls = 0

    def _next(self) -> dict[str, Any]:
        line = next(self._lines, "")
        self.calls += 1
        try:
            entry = json.loads(line)
        except ValueError as error:
            what = "ends" if not line else "is damaged"
            raise DeviceError(f"call {self.calls}: the recording {what} here") from error
        if not isinstance(entry, dict):
            raise DeviceError(f"call {self.calls}: the recording is damaged here")
        return entry

    def _call(self, name: str, **given: Any) -> Any:
        """Compare a call with the next one of the recording; what it gave."""
        entry = self._next()
        gives = entry.pop("gives", None)
        now = {"call": name, **given}
        if entry != now:
            apart = next((k for k in now if entry.get(k) != now[k]), "call")
            raise DeviceError(
                f"call {self.calls}: the driver did {name} with {apart} "
                f"{shown(now.get(apart))}, the recording has {shown(entry.get(apart))}"
            )
        return gives

    def close(self) -> None:
        """Forget what was not played."""
        self._lines = iter(())

    def finish(self) -> None:
        """Check that nothing is left.

        Raises
        ------
        DeviceError
            If the recording goes on.
        """
        if next(self._lines, None) is not None:
            raise DeviceError(f"the driver stopped after call {self.calls}, the recording goes on")

    def read32(self, offset: int) -> int:
        """Recorded value of the register."""
        return int(self._call("read32", offset=offset))

    def write32(self, offset: int, value: int) -> None:
        """Compare only."""
        self._call("write32", offset=offset, value=value)

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Recorded bytes of the memory."""
        packed = self._call("read_memory", channel=channel, address=address, count=count)
        if packed is None:
            if (written := self._written.get((channel, address, count))) is None:
                raise DeviceError(f"call {self.calls}: the recording is damaged here")
            return written.copy()
        return np.frombuffer(zlib.decompress(b64decode(packed)), np.uint8)

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Compare, and keep what was written."""
        self._call("write_memory", channel=channel, address=address, count=len(values),
                   sha256=_hash(values))  # fmt: skip
        kept = values.copy() if values.flags.writeable else values  # not of a mapped image
        self._written[channel, address, len(values)] = kept

    def wait_interrupt(self) -> None:
        """Compare only."""
        self._call("wait_interrupt")

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """The bases that were recorded."""
        wanted = {name: list(both) for name, both in channels.items()}
        found: dict[str, int] = self._call("allocate", channels=wanted)
        return found

    def reset_machine(self) -> None:
        """Compare only."""
        self._call("reset_machine")
