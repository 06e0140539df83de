"""From a build to a folder for a board: what a user copies to the board's tools and builds."""

from lightmamba.device.package.board import Board, board_names
from lightmamba.device.package.programmer import program
from lightmamba.device.package.write import Package, check_output, write_package

__all__ = ["Board", "Package", "board_names", "check_output", "program", "write_package"]
