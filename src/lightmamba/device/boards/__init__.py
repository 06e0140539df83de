"""Boards as devices: through XRT, UIO, a serial line; and the self-test for first light."""

from lightmamba.device.boards.selftest import Expected, Step, expected, self_test
from lightmamba.device.boards.serial_device import SerialDevice
from lightmamba.device.boards.serial_ulx3s import open_ulx3s
from lightmamba.device.boards.uio import UioDevice, open_uio
from lightmamba.device.boards.xrt import XrtDevice, open_xrt

__all__ = [
    "Expected", "SerialDevice", "Step", "UioDevice", "XrtDevice", "expected", "open_uio",
    "open_ulx3s", "open_xrt", "self_test",
]  # fmt: skip
