"""From a build to a folder for a board: what a user copies to the board's tools and builds."""

from lightmamba.device.package.board import Board, board_names
from lightmamba.device.package.device import open_package
from lightmamba.device.package.programmer import program
from lightmamba.device.package.ulx3s_device import SimulatedUlx3s, open_simulated_ulx3s
from lightmamba.device.package.write import Package, check_output, write_package

__all__ = [
    "Board", "Package", "SimulatedUlx3s", "board_names", "check_output", "open_package",
    "open_simulated_ulx3s", "program", "write_package",
]  # fmt: skip
