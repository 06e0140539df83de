"""Checks that the packages of all boards have: what files say of each other and of the build."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from lightmamba.device.package.contents import MAP
from lightmamba.device.package.design import Design
from lightmamba.device.package.design import windows as within
from lightmamba.hardware.machine.ports import ports as ports_of
from lightmamba.hardware.machine.registers import MAGIC, offsets
from lightmamba.hardware.machine.registers import registers as registers_of

__all__ = ["MANIFEST", "hashes", "module_ports", "ports", "regions", "registers", "windows"]

MANIFEST = "MANIFEST.sha256"
PORT = re.compile(r"\b(input|output|inout)\s+(?:wire\s+)?(?:\[(\d+):0\]\s*)?(\w+)")


def module_ports(verilog: str, name: str) -> dict[str, tuple[str, int]]:
    """Ports of a module: direction and width, whichever style they are declared in."""
    begin = re.search(rf"^module {re.escape(name)} ?\(", verilog, re.MULTILINE)
    if begin is None:
        return {}
    text = verilog[begin.start() : verilog.index("endmodule", begin.start())]
    text = re.sub(r"\(\*.*?\*\)", "", text)
    return {port: (way, int(high or 0) + 1) for way, high, port in PORT.findall(text)}


def ports(design: Design, folder: Path) -> bool:
    """Each port of the accelerator is behind one interface, in each direction that it has."""
    both = [port.name for one in design.interfaces for port in one.ports]
    return sorted(both) == sorted(port.name for port in ports_of(design.artifact.arch))


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
