"""Checks of a package that need no tool: what its files say of each other and of the build."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lightmamba.device.package.contents import MAP
from lightmamba.device.package.design import KERNEL, Design
from lightmamba.device.package.design import windows as within
from lightmamba.device.package.ecp5 import ACCELERATOR, SYSTEM, system_verilog
from lightmamba.hardware.machine.ports import ports as ports_of
from lightmamba.hardware.machine.registers import MAGIC, offsets
from lightmamba.hardware.machine.registers import registers as registers_of
from lightmamba.hardware.soc.board import OSCILLATOR, TOP
from lightmamba.hardware.synth.hierarchy import Ports, modules

__all__ = ["CHECKS", "MANIFEST", "check"]

MANIFEST = "MANIFEST.sha256"
SP = re.compile(rf"^sp={KERNEL}_1\.(\w+):(\w+)\[(\d+)(?::(\d+))?\]$", re.MULTILINE)
NET = re.compile(r"^connect_bd_intf_net .*accelerator/(\w+)\]", re.MULTILINE)
# Of the files for open tools.
PLACE = re.compile(r'^LOCATE COMP "([^"]+)" SITE "(\w+)";$', re.MULTILINE)
KIND = re.compile(r'^IOBUF PORT "([^"]+)" ', re.MULTILINE)
CLOCK = re.compile(r'^FREQUENCY (?:PORT|NET) "([^"]+)" ([\d.]+) MHZ;$', re.MULTILINE)
INSTANCE = re.compile(rf"^  {KERNEL} \w+ \((.*?)^  \);", re.MULTILINE | re.DOTALL)
CONNECTION = re.compile(r"^    \.(\w+)\(", re.MULTILINE)
PLL = re.compile(r"^  EHXPLLL #\((.*?)\) \w+ \(", re.MULTILINE | re.DOTALL)
DIVIDER = re.compile(r"\.(CLKI|CLKFB|CLKOP|CLKOS|CLKOS2)_DIV\(32'd(\d+)\)")
Check = Callable[[Design, Path], bool]


def check(design: Design, folder: Path) -> dict[str, bool]:
    """Run every check of a board's flow; name to whether it passed."""
    return {name: test(design, folder) for name, test in CHECKS[design.board.flow].items()}


def ports(design: Design, folder: Path) -> bool:
    """Each port of the accelerator is behind one interface, in each direction that it has."""
    both = [port.name for one in design.interfaces for port in one.ports]
    return sorted(both) == sorted(port.name for port in ports_of(design.artifact.arch))


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


def regions(design: Design, folder: Path) -> bool:
    """Each channel's block holds its regions and fits its memory, as the map says it."""
    said = json.loads((folder / MAP).read_text())
    ends = Counter[str]()
    for region in said["regions"]:
        ends[region["channel"]] = max(ends[region["channel"]], region["address"] + region["bytes"])
    return all(
        ends[one["name"]] <= one["bytes"] <= max(size for _, size in one["windows"])
        for one in said["channels"]
    )


def windows(design: Design, folder: Path) -> bool:
    """At the addresses of the board each block is aligned, in its window, and within reach."""
    return within(design, design.placed())


def registers(design: Design, folder: Path) -> bool:
    """Offsets are those of the accelerator, and relocation gives what the loader writes."""
    said = json.loads((folder / MAP).read_text())
    kinds = design.artifact.arch.kinds
    at = offsets(kinds)
    there = [one for one in registers_of(kinds) if one.counted(design.artifact.arch)]
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


def system(design: Design, folder: Path) -> bool:
    """Each pin of the accelerator is connected once, and its memory port is as wide as said."""
    declared = modules((folder / ACCELERATOR).read_text())[KERNEL].ports
    inside = {name: (way, width) for way, width, name in declared}
    made = INSTANCE.findall((folder / SYSTEM).read_text())
    if len(made) != 1:
        return False
    (port,) = ports_of(design.artifact.arch)
    data = (inside.get(f"{port.name}__rdata"), inside.get(f"{port.name}__wdata"))
    return Counter(CONNECTION.findall(made[0])) == Counter(dict.fromkeys(inside, 1)) and data == (
        ("input", port.bits), ("output", port.bits),
    )  # fmt: skip


def pins(design: Design, folder: Path) -> bool:
    """Each port of the top module has a place and a kind in each file, and none has two."""
    wanted = Counter(_bits(modules((folder / SYSTEM).read_text())[TOP].ports))
    files = sorted(folder.glob("pins-*.lpf"))
    for file in files:
        places = PLACE.findall(text := file.read_text())
        if Counter(port for port, _ in places) != wanted or Counter(KIND.findall(text)) != wanted:
            return False
        if len({site for _, site in places}) != len(places):
            return False
    return bool(wanted) and len(files) > 0


def _bits(found: Ports) -> Iterator[str]:
    """Names of all bits of ports, as pin files have them."""
    for _, width, name in found:
        yield from [name] if width == 1 else (f"{name}[{n}]" for n in range(width))


def clocks(design: Design, folder: Path) -> bool:
    """The PLL makes the clocks of build and memory from the one that the pin files name.

    nextpnr derives the constraints of a PLL's outputs from that of its input.
    """
    made = PLL.findall((folder / SYSTEM).read_text())
    if len(made) != 1:
        return False
    by = {name: int(value) for name, value in DIVIDER.findall(made[0])}
    if set(by) != {"CLKI", "CLKFB", "CLKOP", "CLKOS", "CLKOS2"}:
        return False
    for file in folder.glob("pins-*.lpf"):
        constraints = CLOCK.findall(file.read_text())
        if [name for name, _ in constraints] != [OSCILLATOR]:
            return False
        memory = float(constraints[0][1]) * by["CLKFB"] / by["CLKI"]
        own = memory * by["CLKOP"] / by["CLKOS"]
        if by["CLKOS2"] != by["CLKOP"] or abs(memory - design.board.memory_mhz) > 1e-6 * memory:
            return False
        if abs(own * 1e6 - design.clock_hz) > 1:
            return False
    return True


def identified(design: Design, folder: Path) -> bool:
    """The system is the one that reports the hash of this build and its clocks to a host."""
    return (folder / SYSTEM).read_text() == system_verilog(design)


def hashes(design: Design, folder: Path) -> bool:
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


ALL: Mapping[str, Check] = {
    "regions": regions,
    "windows": windows,
    "registers": registers,
    "hashes": hashes,
}
VENDOR: Mapping[str, Check] = {"ports": ports, "connectivity": connectivity, **ALL}
OPEN: Mapping[str, Check] = {
    "ports": ports,
    "system": system,
    "pins": pins,
    "clocks": clocks,
    "identity": identified,
    **ALL,
}
CHECKS: Mapping[str, Mapping[str, Check]] = {  # by flow of the board
    "kernel": VENDOR, "zynqmp": VENDOR, "versal": VENDOR, "ecp5": OPEN,
}  # fmt: skip
