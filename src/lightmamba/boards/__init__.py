"""Boards as devices: through XRT, through UIO; and the self-test for first light."""

from lightmamba.boards.selftest import Expected, Step, expected, self_test
from lightmamba.boards.uio import UioDevice, open_uio
from lightmamba.boards.xrt import XrtDevice, open_xrt

__all__ = [
    "Expected", "Step", "UioDevice", "XrtDevice", "expected", "open_uio", "open_xrt", "self_test",
]  # fmt: skip
