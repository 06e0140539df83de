"""Sources of a package for vendors' tools: the accelerator, its wrapper, and the library of XRT."""

from lightmamba.device.boards.xrt import SOURCE
from lightmamba.device.package.design import KERNEL, Design
from lightmamba.device.package.wrapper import core_verilog, wrapper

__all__ = ["sources"]


def sources(design: Design, verilog: str) -> dict[str, str]:
    """Files of the package that no template makes, by their places in it.

    Parameters
    ----------
    design
        The build on its board.
    verilog
        Of the accelerator.
    """
    found = {f"rtl/{KERNEL}.v": core_verilog(verilog), "rtl/wrapper.v": wrapper(design)}
    if design.board.flow == "kernel":
        found["host/xrt.cpp"] = SOURCE.read_text(encoding="utf-8")
    return found
