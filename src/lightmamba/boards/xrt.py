"""An Alveo card through XRT: the accelerator as a user-managed kernel, memory on its banks.

XRT gives no interrupt of such a kernel, so the status is polled.
"""

import ctypes
import time
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import DeviceError, InputError
from lightmamba.machine.artifact import Artifact
from lightmamba.runtime.device import Device, Flags

__all__ = ["SOURCE", "XrtDevice", "bank", "open_xrt"]

SOURCE = Path(__file__).with_name("xrt.cpp")  # of the library that the package builds
KERNEL = "lightmamba"
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


def bank(channel: str) -> str:
    """XRT's tag of the memory that a channel of the Alveo targets is.

    ``hbm3`` is HBM[3] and ``ddr4-1`` is DDR[1]. The last three pseudo-channels of a ``u55c`` hold
    the state and what is small.
    """
    names = {"hbm-state-0": "HBM[29]", "hbm-state-1": "HBM[30]", "hbm-aux": "HBM[31]"}
    if channel in names:
        return names[channel]
    for begin, kind in (("hbm", "HBM"), ("ddr4-", "DDR")):
        number = channel.removeprefix(begin)
        if number != channel and number.isdecimal():
            return f"{kind}[{number}]"
    raise InputError(f"channel {channel} is no memory of an Alveo card; compile for u280 or u55c")


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
        while Flags.DONE not in self.status:
            if time.monotonic() > end:
                working = ", ".join(self.working_units()) or "none"
                raise DeviceError(
                    f"not done in {self.seconds:g} s; units that have work: {working}"
                )
            time.sleep(PAUSE)


def open_xrt(
    artifact: Artifact, *, xclbin: str, library: str = "", card: int = 0, seconds: float = SECONDS
) -> XrtDevice:
    """Open a card, with memory for the channels of a build.

    The library is that of the package; by default ``liblightmamba_xrt.so`` next to the bitstream.

    Raises
    ------
    InputError
        If something is not there.
    """
    built = Path(library) if library else Path(xclbin).parent / "liblightmamba_xrt.so"
    banks = {channel.name: bank(channel.name) for channel in artifact.target.channels}
    return XrtDevice(built, Path(xclbin), banks, card=int(card), seconds=float(seconds))
