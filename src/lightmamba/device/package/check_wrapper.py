"""Checks of packages for vendors' tools: the wrapper, and what its interfaces are connected to."""

import re
from collections import Counter
from pathlib import Path

from lightmamba.device.package.check_build import module_ports
from lightmamba.device.package.design import CONTROL, KERNEL, Design
from lightmamba.device.package.wrapper import CORE, signals

__all__ = ["connectivity", "wrapper"]

CONNECTION = re.compile(r"^    \.(\w+)\(([^)]*)\)", re.MULTILINE)
SP = re.compile(rf"^sp={KERNEL}_1\.(\w+):(\w+)\[(\d+)(?::(\d+))?\]$", re.MULTILINE)
NET = re.compile(r"^connect_bd_intf_net .*accelerator/(\w+)\]", re.MULTILINE)


def wrapper(design: Design, folder: Path) -> bool:
    """Each pin of the accelerator is connected once; the wrapper has just its interfaces."""
    outside = module_ports((folder / "rtl/wrapper.v").read_text(), KERNEL)
    inside = module_ports((folder / f"rtl/{KERNEL}.v").read_text(), CORE)
    made = Counter(pin for pin, _ in CONNECTION.findall((folder / "rtl/wrapper.v").read_text()))
    wanted = {"ap_clk", "ap_rst_n"} | ({"interrupt"} if design.board.interrupt else set())
    for interface in design.interfaces:
        for signal in signals(interface, design.board.address_bits):
            name = f"{interface.bus}_{signal.name}"
            wanted.add(name)
            if outside.get(name) != (signal.direction, signal.bits):
                return False
    others = {name for name in outside if not name.startswith(f"{CONTROL}_")}
    return made == Counter(dict.fromkeys(inside, 1)) and others == wanted


def connectivity(design: Design, folder: Path) -> bool:
    """Each interface is connected once, and each memory has no more than it takes."""
    for block in design.blocks:
        if len(block.interfaces) > design.board.interfaces_per_memory:
            return False
    if design.board.flow != "kernel":
        used = Counter(NET.findall((folder / "bd.tcl").read_text()))
        return used == Counter(dict.fromkeys(design.buses, 1))
    found: dict[str, set[str]] = {}
    for bus, kind, first, last in SP.findall((folder / "link.cfg").read_text()):
        banks = {f"{kind}[{n}]" for n in range(int(first), int(last or first) + 1)}
        if found.setdefault(bus, banks) is not banks:
            return False  # twice
    return found == {
        one.bus: {design.block(channel).memory.tag for channel in one.channels}
        for one in design.interfaces
    }
