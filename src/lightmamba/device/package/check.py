"""Checks of a package that need no tool, by the flow of its board."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lightmamba.device.package import check_build, check_ecp5, check_wrapper
from lightmamba.device.package.check_build import MANIFEST, module_ports
from lightmamba.device.package.design import Design

__all__ = ["CHECKS", "MANIFEST", "Check", "check", "module_ports"]

Check = Callable[[Design, Path], bool]
VENDOR: Mapping[str, Check] = {
    "ports": check_build.ports,
    "wrapper": check_wrapper.wrapper,
    "connectivity": check_wrapper.connectivity,
    "regions": check_build.regions,
    "windows": check_build.windows,
    "registers": check_build.registers,
    "hashes": check_build.hashes,
}
OPEN: Mapping[str, Check] = {
    "ports": check_build.ports,
    "system": check_ecp5.system,
    "pins": check_ecp5.pins,
    "clocks": check_ecp5.clocks,
    "identity": check_ecp5.identified,
    "regions": check_build.regions,
    "windows": check_build.windows,
    "registers": check_build.registers,
    "hashes": check_build.hashes,
}
CHECKS: Mapping[str, Mapping[str, Check]] = {
    "kernel": VENDOR, "zynqmp": VENDOR, "versal": VENDOR, "ecp5": OPEN,
}  # fmt: skip


def check(design: Design, folder: Path) -> dict[str, bool]:
    """Run every check of a board's flow; name to whether it passed."""
    return {name: test(design, folder) for name, test in CHECKS[design.board.flow].items()}
