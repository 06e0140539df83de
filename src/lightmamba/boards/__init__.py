"""Boards as devices: through XRT, UIO, a serial line; and the self-test for first light."""

from lightmamba.boards.selftest import Expected, Step, expected, self_test
from lightmamba.boards.serial_device import SerialDevice
from lightmamba.boards.serial_ulx3s import open_ulx3s
from lightmamba.boards.uio import UioDevice, open_uio
from lightmamba.boards.xrt import XrtDevice, open_xrt

__all__ = [
    "Expected", "SerialDevice", "Step", "UioDevice", "XrtDevice", "expected", "open_uio",
    "open_ulx3s", "open_xrt", "self_test",
]  # fmt: skip
