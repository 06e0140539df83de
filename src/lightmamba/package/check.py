"""Checks of a package that need no tool: what its files say of each other and of the build."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from lightmamba.machine.ports import ports
from lightmamba.machine.registers import MAGIC, offsets, registers
from lightmamba.package.contents import MAP
from lightmamba.package.design import CONTROL, KERNEL, Design, windows
from lightmamba.package.wrapper import CORE, signals

__all__ = ["CHECKS", "MANIFEST", "check", "module_ports"]

MANIFEST = "MANIFEST.sha256"
PORT = re.compile(r"\b(input|output)\s+(?:wire\s+)?(?:\[(\d+):0\]\s*)?(\w+)")
CONNECTION = re.compile(r"^    \.(\w+)\(([^)]*)\)", re.MULTILINE)
SP = re.compile(rf"^sp={KERNEL}_1\.(\w+):(\w+)\[(\d+)(?::(\d+))?\]$", re.MULTILINE)
NET = re.compile(r"^connect_bd_intf_net .*accelerator/(\w+)\]", re.MULTILINE)


def check(design: Design, folder: Path) -> dict[str, bool]:
    """Run every check; name to whether it passed."""
    return {name: test(design, folder) for name, test in CHECKS.items()}


def module_ports(verilog: str, name: str) -> dict[str, tuple[str, int]]:
    """Ports of a module: direction and width, whichever style they are declared in."""
    begin = re.search(rf"^module {re.escape(name)} ?\(", verilog, re.MULTILINE)
    if begin is None:
        return {}
    text = verilog[begin.start() : verilog.index("endmodule", begin.start())]
    text = re.sub(r"\(\*.*?\*\)", "", text)
    return {port: (way, int(high or 0) + 1) for way, high, port in PORT.findall(text)}


def _wrapper(design: Design, folder: Path) -> bool:
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


def _connectivity(design: Design, folder: Path) -> bool:
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


def _regions(design: Design, folder: Path) -> bool:
    """Each channel's block holds its regions and fits its memory, as the map says it."""
    said = json.loads((folder / MAP).read_text())
    ends = Counter[str]()
    for region in said["regions"]:
        ends[region["channel"]] = max(ends[region["channel"]], region["address"] + region["bytes"])
    return all(
        ends[one["name"]] <= one["bytes"] <= max(size for _, size in one["windows"])
        for one in said["channels"]
    )


def _windows(design: Design, folder: Path) -> bool:
    """At the addresses of the board each block is aligned, in its window, and within reach."""
    return windows(design, design.placed())


def _registers(design: Design, folder: Path) -> bool:
    """Offsets are those of the accelerator, and relocation gives what the loader writes."""
    said = json.loads((folder / MAP).read_text())
    kinds = design.artifact.arch.kinds
    at = offsets(kinds)
    there = [one for one in registers(kinds) if one.counted(design.artifact.arch)]
    if said["magic"] != MAGIC or len({one["offset"] for one in said["registers"]}) < len(there):
        return False
    named = {one["name"]: one for one in said["registers"]}
    for register in there:
        first = f"{register.name}_0" if register.count > 1 else register.name
        if named[first]["offset"] != at[register.name]:
            return False
        if named[first]["bits"] != 32 * (1 + register.wide):
            return False
    bases = {name: (n + 1) << 32 for n, name in enumerate(design.artifact.extents())}
    wanted = design.artifact.settings(bases)
    found: dict[str, int | list[int]] = dict(said["settings"])
    for one in said["relocation"]:
        value = bases[one["channel"]] + one["offset"]
        if isinstance(wanted[one["register"]], list):
            values = found.setdefault(one["register"], [])
            if not isinstance(values, list) or len(values) != one["index"]:
                return False
            values.append(value)
        else:
            found[one["register"]] = value
    return found == wanted


def _hashes(design: Design, folder: Path) -> bool:
    """Every file is listed with its hash, but the list itself; data as the build lists them."""
    known = {f"data/{name}": stored.sha256 for name, stored in design.artifact.files.items()}
    lines = (folder / MANIFEST).read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    there = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    } - {MANIFEST}  # fmt: skip
    return set(listed) == there and all(
        digest == (known.get(name) or hashlib.sha256((folder / name).read_bytes()).hexdigest())
        for name, digest in listed.items()
    )


def _ports(design: Design, folder: Path) -> bool:
    """Each port of the accelerator is behind one interface, in each direction that it has."""
    both = [port.name for one in design.interfaces for port in one.ports]
    return sorted(both) == sorted(port.name for port in ports(design.artifact.arch))


CHECKS: Mapping[str, Callable[[Design, Path], bool]] = {
    "ports": _ports,
    "wrapper": _wrapper,
    "connectivity": _connectivity,
    "regions": _regions,
    "windows": _windows,
    "registers": _registers,
    "hashes": _hashes,
}
