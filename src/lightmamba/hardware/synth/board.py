"""A design with pins and clocks through yosys, nextpnr-ecp5 and ecppack: a bitstream."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.ecp5 import LIMIT_S, synthesized
from lightmamba.hardware.synth.edit import edit, resets_of
from lightmamba.hardware.synth.flow import SLOW_MHZ, Flow, write_flow
from lightmamba.hardware.synth.placed import route
from lightmamba.hardware.synth.tools import find_ecppack, find_nextpnr, find_yosys

__all__ = [
    "Clock", "Routed", "between_of", "bitstream", "clocks_of", "plain", "prepared", "routed",
]  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """A clock after routing, in MHz."""

    name: str
    fmax_mhz: float
    constraint_mhz: float

    @property
    def met(self) -> bool:
        """Whether it runs at its constraint."""
        return self.fmax_mhz >= self.constraint_mhz


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
    edits : {name: int}
        What :func:`lightmamba.hardware.synth.edit.edit` did.
    path : Path
        The bitstream.
    """

    tools: str
    clocks: tuple[Clock, ...]
    between_ns: Mapping[tuple[str, str], float]
    used: Mapping[str, int]
    available: Mapping[str, int]
    edits: Mapping[str, int]
    path: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "tool": self.tools,
            "clocks": {c.name: [c.fmax_mhz, c.constraint_mhz] for c in self.clocks},
            "between_ns": {f"{a} to {b}": ns for (a, b), ns in self.between_ns.items()},
            "used": dict(self.used),
            "available": dict(self.available),
            "edits": dict(self.edits),
            "bytes": self.path.stat().st_size,
        }


def bitstream(flow: Flow, folder: Path, *, limit_s: float = LIMIT_S, slow: bool = False) -> Routed:
    """Synthesize, place and route a design, and write its bitstream.

    Parameters
    ----------
    flow
        The design.
    folder
        Gets all files.
    limit_s
        Seconds that yosys and nextpnr may take each.
    slow
        Whether a bitstream is wanted even if a clock misses its constraint.

    Raises
    ------
    InputError
        If a tool is missing, too old or fails; if the design does not fit; if a reset or a clock is
        unknown; if a clock is too slow.
    """
    find_nextpnr(), find_ecppack()  # before minutes of synthesis
    edits = prepared(flow, folder, limit_s=limit_s)
    return routed(flow, folder, edits, limit_s=limit_s, slow=slow)


def prepared(flow: Flow, folder: Path, *, limit_s: float = LIMIT_S) -> dict[str, int]:
    """Synthesize a design and edit its netlist (:mod:`lightmamba.hardware.synth.edit`); the counts.

    Parameters and errors are those of :func:`bitstream`.
    """
    yosys = find_yosys()
    write_flow(flow, folder)
    netlist = synthesized(yosys, flow.files, flow.top, folder, limit_s)
    likely = resets_of(netlist, flow.top)
    edits = edit(netlist, flow.top, resets=flow.resets)
    if unused := [reset for reset in flow.resets if not edits[reset]]:
        raise InputError(f"{unused[0]} resets no register of {flow.top}; {likely}")
    module = netlist["modules"][flow.top]
    if unknown := [name for name in flow.clocks if name not in module["netnames"]]:
        raise InputError(
            f"{flow.top} has no signal {unknown[0]} for a clock; its inputs are "
            f"{', '.join(n for n, port in module['ports'].items() if port['direction'] == 'input')}"
        )
    (folder / "edited.json").write_text(json.dumps(netlist))
    return edits


def routed(
    flow: Flow,
    folder: Path,
    edits: Mapping[str, int],
    *,
    limit_s: float = LIMIT_S,
    slow: bool = False,
    netlist: str = "",
) -> Routed:
    """Place and route what :func:`prepared` left in a folder, and write its bitstream.

    Parameters
    ----------
    flow
        The design; its seed may be another.
    folder, limit_s, slow
        As for :func:`bitstream`, which names the errors, too.
    edits
        What :func:`prepared` gave.
    netlist
        Name of a file in the folder that gets the netlist with the places of its cells, for
        :mod:`lightmamba.hardware.synth.netlist` and for a picture. None by default.
    """
    yosys, nextpnr, ecppack = find_yosys(), find_nextpnr(), find_ecppack()
    options = [*flow.route, "--write", netlist] if netlist else flow.route
    try:
        report = route(nextpnr, options, folder, limit_s, goal_mhz=SLOW_MHZ, seed=flow.seed)
    except InputError as error:
        raise InputError(_too_large(folder / "nextpnr.log") or str(error)) from error
    clocks = clocks_of(report)
    if not slow:
        _judge(clocks)
    ecppack.run(flow.pack, folder)
    cells = {name: many for name, many in report["utilization"].items() if many["used"]}
    return Routed(
        tools="; ".join(tool.version for tool in (yosys, nextpnr, ecppack)),
        clocks=clocks,
        between_ns=between_of(report),
        used={name: many["used"] for name, many in cells.items()},
        available={name: many["available"] for name, many in cells.items()},
        edits=edits,
        path=folder / f"{flow.top}.bit",
    )


def clocks_of(report: Mapping[str, Any]) -> tuple[Clock, ...]:
    """Clocks of nextpnr's report, by the names that the design has."""
    return tuple(
        Clock(plain(name), about["achieved"], about["constraint"])
        for name, about in report["fmax"].items()
    )


def between_of(report: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Longest path from each clock to each other one, ns."""
    found = {}
    for path in report["critical_paths"]:
        ends = [re.sub(r"^(pos|neg)edge ", "", path[end]) for end in ("from", "to")]
        if ends[0] != ends[1] and "<async>" not in ends:
            found[plain(ends[0]), plain(ends[1])] = sum(step["delay"] for step in path["path"])
    return found


def plain(net: str) -> str:
    """Name of a clock in the design, without what nextpnr adds for its buffers."""
    return net.removeprefix("$glbnet$").removesuffix("$TRELLIS_IO_IN")


def _judge(clocks: tuple[Clock, ...]) -> None:
    for clock in clocks:
        if not clock.met:
            raise InputError(
                f"the clock {clock.name} reaches {clock.fmax_mhz:.1f} MHz, "
                f"{clock.constraint_mhz - clock.fmax_mhz:.1f} MHz less than its constraint of "
                f"{clock.constraint_mhz:g} MHz; try other seeds or a slower clock"
            )


def _too_large(log: Path) -> str:
    """Say which cells the device does not have, if that is why nextpnr failed."""
    text = log.read_text() if log.is_file() else ""
    found = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", text, re.MULTILINE)
    missing = [
        f"{int(used):,} {name} where the device has {int(has):,}"
        for name, used, has in found
        if int(used) > int(has)
    ]
    return f"the design does not fit: it needs {', '.join(missing)}" if missing else ""
