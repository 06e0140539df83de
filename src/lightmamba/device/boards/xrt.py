"""An Alveo card through XRT: the accelerator as a user-managed kernel, memory on its banks.

XRT gives no interrupt of such a kernel, so the status is polled.
"""

import ctypes
import json
import time
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.host.device import Device, Flags
from lightmamba.hardware.machine.artifact import Artifact

__all__ = ["MAP", "SOURCE", "XrtDevice", "banks", "open_xrt"]

SOURCE = Path(__file__).with_name("xrt.cpp")  # of the library that the package builds
KERNEL = "lightmamba"
MAP = "map.json"  # of a package, next to its bitstream
SECONDS = 30.0  # that a start may take before the device counts as hung
PAGE = 4096  # bytes to which XRT aligns every buffer
PAUSE = 20e-6  # seconds between two looks at the status
_SIGNATURES: Mapping[str, tuple[Any, ...]] = {
    "error": (c_char_p,),
    "open": (c_int, c_uint, c_char_p, c_char_p, POINTER(c_void_p)),
    "close": (None, c_void_p),
    "read": (c_int, c_void_p, c_uint32, POINTER(c_uint32)),
    "write": (c_int, c_void_p, c_uint32, c_uint32),
    "free": (None, c_void_p),
    "allocate": (c_int, c_void_p, c_char_p, c_uint64, POINTER(c_uint64), POINTER(c_uint64)),
    "put": (c_int, c_void_p, c_uint64, c_uint64, c_void_p, c_uint64),
    "get": (c_int, c_void_p, c_uint64, c_uint64, c_void_p, c_uint64),
}


def banks(file: Path, artifact: Artifact) -> dict[str, str]:
    """XRT's tag of each channel's memory, such as HBM[3], from the map of a package.

    Raises
    ------
    InputError
        If there is no map, or it lacks a channel of the build.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["channels"]
        tags = {str(channel["name"]): str(channel["memory"]) for channel in found}
    except OSError as error:
        raise InputError(
            f"there is no {file}; keep the bitstream in the folder of its package, or give map=FILE"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error}); make the package again") from error
    names = [channel.name for channel in artifact.target.channels]
    if lacking := [name for name in names if name not in tags]:
        raise InputError(
            f"{file} has no channel {lacking[0]}; give the build that the package was made of"
        )
    return {name: tags[name] for name in names}


class XrtDevice(Device):
    """An accelerator on a card.

    Parameters
    ----------
    library : Path
        What the package built of :data:`SOURCE`.
    xclbin : Path
        The bitstream.
    banks : {channel: tag}
        Memory of each channel of the build.
    card : int
        Which card of the machine.
    seconds : float
        Longest time that a start may take.

    Raises
    ------
    InputError
        If library, bitstream or card are not there.
    """

    def __init__(
        self, library: Path, xclbin: Path, banks: Mapping[str, str], *, card: int = 0,
        seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.banks, self.seconds = banks, seconds
        self._handle = c_void_p()
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise InputError(
                f"cannot load {library} ({error}); build it with make in the package"
            ) from error
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(self._library, f"lmx_{name}")
            function.restype, function.argtypes = result, arguments
        if not Path(xclbin).is_file():
            raise InputError(f"there is no bitstream {xclbin}; build it with make in the package")
        if self._library.lmx_open(card, str(xclbin).encode(), KERNEL.encode(), byref(self._handle)):
            raise InputError(f"card {card} cannot be opened with {xclbin}: {self._reason()}")
        self._buffers: dict[str, tuple[int, int, int]] = {}  # number, first address, bytes

    def close(self) -> None:
        """Stop the accelerator and give the card back, also one that no longer answers.

        Raises
        ------
        DeviceError
            If it does not answer.
        """
        if self._handle:
            try:
                self.write("control", 0)
            finally:
                handle, self._handle = self._handle, c_void_p()
                self._library.lmx_close(handle)

    def _reason(self) -> str:
        text: bytes = self._library.lmx_error()
        return text.decode(errors="replace")

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, f"lmx_{name}")(self._handle, *arguments):
            raise DeviceError(f"XRT: {self._reason()}")

    def read32(self, offset: int) -> int:
        """Read the register at a byte offset."""
        value = c_uint32()
        self._call("read", offset, byref(value))
        return value.value

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at a byte offset."""
        self._call("write", offset, value)

    def _place(self, channel: str, address: int, count: int) -> tuple[int, int]:
        number, first, size = self._buffers[channel]
        at = address - first
        if not 0 <= at <= at + count <= size:
            raise DeviceError(f"{channel} has no {count} bytes at {address:#x}")
        return number, at

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory."""
        number, at = self._place(channel, address, count)
        values = np.empty(count, np.uint8)
        self._call("get", number, at, values.ctypes.data, count)
        return values

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory."""
        number, at = self._place(channel, address, len(values))
        values = np.ascontiguousarray(values)
        self._call("put", number, at, values.ctypes.data, len(values))

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """One buffer per channel, on its bank."""
        self._library.lmx_free(self._handle)
        self._buffers, found = {}, {}
        for name, (size, alignment) in channels.items():
            number, address = c_uint64(), c_uint64()
            spare = 0 if alignment <= PAGE else alignment
            tag = self.banks[name].encode()
            self._call("allocate", tag, size + spare, byref(number), byref(address))
            self._buffers[name] = number.value, address.value, size + spare
            found[name] = -(-address.value // alignment) * alignment
        return found

    def wait_interrupt(self) -> None:
        """Poll until the token is done."""
        end = time.monotonic() + self.seconds
        while not self.status & (Flags.DONE | Flags.BUS_FAULT):
            if time.monotonic() > end:
                raise self.hangs(f"not done in {self.seconds:g} s")
            time.sleep(PAUSE)


def open_xrt(
    artifact: Artifact,
    *,
    xclbin: str,
    library: str = "",
    map: str = "",
    card: int = 0,
    seconds: float = SECONDS,
) -> XrtDevice:
    """Open a card, with memory for the channels of a build.

    Library and map are those of the package; by default ``liblightmamba_xrt.so`` and ``map.json``
    next to the bitstream.

    Raises
    ------
    InputError
        If something is not there.
    """
    built = Path(library) if library else Path(xclbin).parent / "liblightmamba_xrt.so"
    tags = banks(Path(map) if map else Path(xclbin).parent / MAP, artifact)
    return XrtDevice(built, Path(xclbin), tags, card=int(card), seconds=float(seconds))
