"""Checks of packages for open tools: the whole system, its pins, clocks and identity."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lightmamba.device.package.design import KERNEL, Design
from lightmamba.device.package.ecp5 import ACCELERATOR, SYSTEM, system_verilog
from lightmamba.hardware.machine.ports import ports
from lightmamba.hardware.soc.board import OSCILLATOR, TOP
from lightmamba.hardware.synth.hierarchy import Ports, modules

__all__ = ["clocks", "identified", "pins", "system"]

PLACE = re.compile(r'^LOCATE COMP "([^"]+)" SITE "(\w+)";$', re.MULTILINE)
KIND = re.compile(r'^IOBUF PORT "([^"]+)" ', re.MULTILINE)
CLOCK = re.compile(r'^FREQUENCY (?:PORT|NET) "([^"]+)" ([\d.]+) MHZ;$', re.MULTILINE)
INSTANCE = re.compile(rf"^  {KERNEL} \w+ \((.*?)^  \);", re.MULTILINE | re.DOTALL)
CONNECTION = re.compile(r"^    \.(\w+)\(", re.MULTILINE)
PLL = re.compile(r"^  EHXPLLL #\((.*?)\) \w+ \(", re.MULTILINE | re.DOTALL)
DIVIDER = re.compile(r"\.(CLKI|CLKFB|CLKOP|CLKOS|CLKOS2)_DIV\(32'd(\d+)\)")


def system(design: Design, folder: Path) -> bool:
    """Each pin of the accelerator is connected once, and its memory port is as wide as said."""
    ports_of = modules((folder / ACCELERATOR).read_text())[KERNEL].ports
    inside = {name: (way, width) for way, width, name in ports_of}
    made = INSTANCE.findall((folder / SYSTEM).read_text())
    if len(made) != 1:
        return False
    (port,) = ports(design.artifact.arch)
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
