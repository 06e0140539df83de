"""Record what a driver does with a device, and play it back.

A recording is a file of JSON lines: one per call of a device's primitives and of ``place``, with
what was given and what came back. It has contents of memory as their hash, and in full where the
driver read something else than what it had written there in one piece. The recording of a simulated
session, played back, checks a driver call by call; that of a board is what a bug report needs.
"""

import json
import os
import zlib
from abc import abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.place import Region
from lightmamba.common.errors import DeviceError, InputError, shown
from lightmamba.device.host.device import Device
from lightmamba.hardware.machine.artifact import Artifact

__all__ = ["RecordingDevice", "ReplayDevice"]

FORMAT = {"lightmamba recording": 3}
Piece = tuple[str, int, int]  # channel, address, bytes


def _hash(values: NDArray[np.uint8]) -> str:
    return sha256(np.ascontiguousarray(values).data).hexdigest()


class _ByCalls(Device):
    """Device whose primitives all go through one method."""

    @abstractmethod
    def _call(self, name: str, given: Mapping[str, Any], **changed: Any) -> Any:
        """Result of a primitive.

        Parameters
        ----------
        name
            Of the primitive.
        given
            Its arguments, in their order.
        changed
            Arguments that a recording has in another form.
        """

    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""
        return int(self._call("read32", {"offset": offset}))

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""
        self._call("write32", {"offset": offset, "value": value})

    def transfer(self, steps: Sequence[tuple[int, int | None]]) -> list[int]:
        """Write and read registers in order."""
        found: list[int] = self._call("transfer", {"steps": steps}, steps=[*map(list, steps)])
        return found

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory."""
        piece = {"channel": channel, "address": address, "count": count}
        found: NDArray[np.uint8] = self._call("read_memory", piece)
        return found

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory."""
        given = {"channel": channel, "address": address, "values": values}
        self._call("write_memory", given, values=[len(values), _hash(values)])

    def wait_interrupt(self) -> None:
        """Wait until the interrupt is raised."""
        self._call("wait_interrupt", {})

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Find memory for a build."""
        wanted = {name: list(both) for name, both in channels.items()}
        found: Mapping[str, int] = self._call("allocate", {"channels": channels}, channels=wanted)
        return found

    def reset_machine(self) -> None:
        """Reset the hardware."""
        self._call("reset_machine", {})

    def place(self, artifact: Artifact, regions: Sequence[Region]) -> None:
        """Bring the images of a build into memory, in the way of the device."""
        hashed = {
            region.name: [
                region.channel, self.address(region), len(artifact.image(region)),
                artifact.files[region.file].sha256,
            ]
            for region in regions if region.file is not None
        }  # fmt: skip
        self._call("place", {"artifact": artifact, "regions": regions}, artifact=hashed,
                   regions=[region.name for region in regions])  # fmt: skip


class RecordingDevice(_ByCalls):
    """Another device, whose every call is written to a file.

    Parameters
    ----------
    device : Device
        Does the work, and is closed with this one; use only this one.
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
        self._write(json.dumps(FORMAT) + "\n")

    def close(self) -> None:
        """Close the device, then the file."""
        try:
            self.device.close()
        finally:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _write(self, text: str) -> None:
        # Not buffered: of a device that hangs, the last call is what matters.
        left = memoryview(text.encode())
        while left:
            left = left[os.write(self._file, left) :]

    def _call(self, name: str, given: Mapping[str, Any], **changed: Any) -> Any:
        """Let the device do it; the call is in the file before it begins, the result after it."""
        inner = self.device
        inner.kinds, inner.bases, inner.progress = self.kinds, self.bases, self.progress
        entry = json.dumps({"call": name, **given, **changed}, separators=(",", ":"))
        self._write(entry[:-1])
        try:
            found = getattr(inner, name)(*given.values())
        except BaseException as error:
            self._write(f',"raises":{json.dumps(str(error))}}}\n')
            raise
        gives = found
        if name == "read_memory":
            gives = self._packed((given["channel"], given["address"], given["count"]), found)
        elif name == "write_memory":
            size, hashed = changed["values"]
            self._written[given["channel"], given["address"], size] = hashed
        elif name == "place":
            for channel, address, size, hashed in changed["artifact"].values():
                self._written[channel, address, size] = hashed
        self._write(f',"gives":{json.dumps(gives)}}}\n')
        return found

    def _packed(self, piece: Piece, values: NDArray[np.uint8]) -> str | None:
        """Bytes of memory that was read, as text; None if they are what was written there."""
        if self._written.get(piece) == _hash(values):
            return None
        return b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 1)).decode()


class ReplayDevice(_ByCalls):
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

    def _call(self, name: str, given: Mapping[str, Any], **changed: Any) -> Any:
        """Compare a call with the next one of the recording, and give what that one gave."""
        entry = self._next()
        gives, raises = entry.pop("gives", None), entry.pop("raises", None)
        now = {"call": name, **given, **changed}
        if entry != now:
            apart = next((k for k in now if entry.get(k) != now[k]), "call")
            raise DeviceError(
                f"call {self.calls}: the driver did {name} with {apart} "
                f"{shown(now.get(apart))}, the recording has {shown(entry.get(apart))}"
            )
        if raises is not None:
            raise DeviceError(raises)
        if name == "write_memory":
            values = given["values"]
            kept = values.copy() if values.flags.writeable else values  # not of a mapped image
            self._written[given["channel"], given["address"], len(values)] = kept
        elif name == "place":
            for region in given["regions"]:
                image = given["artifact"].image(region)
                self._written[region.channel, self.address(region), len(image)] = image
        elif name == "read_memory" and gives is None:
            piece = (given["channel"], given["address"], given["count"])
            if (written := self._written.get(piece)) is None:
                raise DeviceError(f"call {self.calls}: the recording is damaged here")
            return written.copy()
        elif name == "read_memory":
            return np.frombuffer(zlib.decompress(b64decode(gives)), np.uint8)
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
