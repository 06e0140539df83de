"""A design with pins and clocks through yosys, nextpnr-ecp5 and ecppack: a bitstream."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.ecp5 import DEVICE, LIMIT_S, synthesized
from lightmamba.hardware.synth.edit import edit, resets_of
from lightmamba.hardware.synth.placed import Clock, between_of, clocks_of, route
from lightmamba.hardware.synth.tools import find_tool

__all__ = ["Flow", "Routed", "prepared", "routed"]

SLOW_MHZ = 12.0  # of clocks without a constraint: nextpnr's default


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
    """

    top: str
    verilog: Mapping[str, str]
    pins: str
    clocks: Mapping[str, float]
    resets: tuple[str, ...] = ()
    seed: int = 1

    @property
    def lpf(self) -> str:
        """The pins and the constraints of the clocks."""
        lines = [f'FREQUENCY NET "{name}" {mhz:g} MHZ;' for name, mhz in self.clocks.items()]
        return "\n".join([self.pins.rstrip(), *lines, ""])

    @property
    def route(self) -> list[str]:
        """Arguments of nextpnr, but those that :func:`~.placed.route` adds."""
        return [
            *DEVICE, "--json", "edited.json", "--lpf", "pins.lpf",
            "--textcfg", f"{self.top}.config",
        ]  # fmt: skip

    @property
    def pack(self) -> list[str]:
        """Arguments of ecppack."""
        return ["--compress", f"{self.top}.config", f"{self.top}.bit"]


@dataclass(frozen=True)
class Routed:
    """A design on a device.

    Parameters
    ----------
    tools : str
    clocks : tuple of Clock
    between_ns : {(from, to): ns}
        Longest path from each clock to each other one; nextpnr does not judge them.
    used, available : {cell: count}
        By nextpnr's names of cells; of those that are used.
    path : Path
        The bitstream.
    """

    tools: str
    clocks: tuple[Clock, ...]
    between_ns: Mapping[tuple[str, str], float]
    used: Mapping[str, int]
    available: Mapping[str, int]
    path: Path


def prepared(flow: Flow, folder: Path) -> dict[str, int]:
    """Synthesize a design and edit its netlist (:mod:`lightmamba.hardware.synth.edit`); the counts.

    Parameters
    ----------
    flow
        The design.
    folder
        Gets all files.

    Raises
    ------
    InputError
        If yosys is missing, too old or fails, or a reset is unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (*flow.verilog.items(), ("pins.lpf", flow.lpf)):
        (folder / name).write_text(text, encoding="utf-8")
    netlist = synthesized(list(flow.verilog), flow.top, folder, LIMIT_S)
    likely = resets_of(netlist, flow.top)
    edits = edit(netlist, flow.top, resets=flow.resets)
    if unused := [reset for reset in flow.resets if not edits[reset]]:
        raise InputError(f"{unused[0]} resets no register of {flow.top}; {likely}")
    (folder / "edited.json").write_text(json.dumps(netlist))
    return edits


def routed(flow: Flow, folder: Path, *, netlist: str = "") -> Routed:
    """Place and route what :func:`prepared` left in a folder, and write its bitstream.

    It is written even where a clock misses its constraint.

    Parameters
    ----------
    flow
        The design; its seed may be another.
    folder
        Of :func:`prepared`.
    netlist
        Name of a file in the folder that gets the netlist with the places of its cells, for
        :mod:`lightmamba.hardware.synth.netlist` and for a picture. None by default.

    Raises
    ------
    InputError
        If a tool is missing, too old or fails, as nextpnr does where the design does not fit.
    """
    yosys, nextpnr, ecppack = find_tool("yosys"), find_tool("nextpnr-ecp5"), find_tool("ecppack")
    options = [*flow.route, "--write", netlist] if netlist else flow.route
    report = route(nextpnr, options, folder, LIMIT_S, goal_mhz=SLOW_MHZ, seed=flow.seed)
    ecppack.run(flow.pack, folder)
    cells = {name: many for name, many in report["utilization"].items() if many["used"]}
    return Routed(
        tools="; ".join(tool.version for tool in (yosys, nextpnr, ecppack)),
        clocks=clocks_of(report),
        between_ns=between_of(report),
        used={name: many["used"] for name, many in cells.items()},
        available={name: many["available"] for name, many in cells.items()},
        path=folder / f"{flow.top}.bit",
    )
