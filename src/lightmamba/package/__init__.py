"""From a build to a folder for a board: what a user copies to the vendor's tools and builds."""

from lightmamba.package.board import Board, board_names
from lightmamba.package.device import open_package
from lightmamba.package.write import Package, check_output, write_package

__all__ = ["Board", "Package", "board_names", "check_output", "open_package", "write_package"]
