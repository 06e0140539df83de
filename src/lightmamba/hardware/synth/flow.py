"""A design for a board with an ECP5: its Verilog, its pins, the constraints of its clocks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.ecp5 import DEVICE
from lightmamba.hardware.synth.edit import FILES

__all__ = ["SLOW_MHZ", "Flow", "edit_files", "write_flow"]

SLOW_MHZ = 12.0  # of clocks without a constraint: nextpnr's default
SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class Flow:
    """A design for a board.

    Parameters
    ----------
    top : str
        Top module; its ports are pins.
    verilog : {name: text}
        Files of all modules.
    pins : str
        Places and electrical properties of the ports, in Lattice's .lpf format.
    clocks : {name: MHz}
        Constraint of each clock: ports, and signals within that nextpnr does not derive from them,
        as it does those of a PLL.
    resets : tuple of str
        Signals of one bit that reset many registers; each takes a global network.
    seed : int
        Of the placement.
    device : tuple of str
        Options of nextpnr-ecp5.

    Raises
    ------
    InputError
        If a name is no word, or there is no clock.
    """

    top: str
    verilog: Mapping[str, str]
    pins: str
    clocks: Mapping[str, float]
    resets: tuple[str, ...] = ()
    seed: int = 1
    device: tuple[str, ...] = DEVICE

    def __post_init__(self) -> None:
        for name in (self.top, *self.verilog):
            if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
                raise InputError(f"{name!r} must be a word of letters, digits and underscores")
        if not self.clocks:
            raise InputError("a design for a board needs a clock; give its port and frequency")
        if wrong := [name for name, mhz in self.clocks.items() if not 0 < mhz <= 1000]:
            raise InputError(f"the clock {wrong[0]} must be above 0 and at most 1000 MHz")

    @property
    def files(self) -> list[str]:
        """Names of the Verilog files."""
        return list(self.verilog)

    @property
    def lpf(self) -> str:
        """The pins and the constraints of the clocks."""
        lines = [f'FREQUENCY NET "{name}" {mhz:g} MHZ;' for name, mhz in self.clocks.items()]
        return "\n".join([self.pins.rstrip(), *lines, ""])

    @property
    def route(self) -> list[str]:
        """Arguments of nextpnr, but those that :func:`~.placed.route` adds."""
        return [
            *self.device, "--json", "edited.json", "--lpf", "pins.lpf",
            "--textcfg", f"{self.top}.config",
        ]  # fmt: skip

    @property
    def pack(self) -> list[str]:
        """Arguments of ecppack."""
        return ["--compress", f"{self.top}.config", f"{self.top}.bit"]


def write_flow(flow: Flow, folder: Path) -> None:
    """Write the Verilog and the pins with the constraints, into a folder that may exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (*flow.verilog.items(), ("pins.lpf", flow.lpf)):
        (folder / name).write_text(text, encoding="utf-8")


def edit_files() -> dict[str, str]:
    """The edits of the netlist as files of a folder ``edits``, which need no other package."""
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in FILES}
    return found | {"__init__.py": '"""Edits of the netlist between yosys and nextpnr."""\n'}
