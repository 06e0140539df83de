"""The report of nextpnr on a design that it placed and routed."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.result import LongestPath, cells
from lightmamba.hardware.synth.tools import Tool

__all__ = ["Clock", "Placed", "amount_of", "between_of", "clocks_of", "path_of", "route"]


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
class Placed:
    """An accelerator on a device.

    Parameters
    ----------
    tools : str
    amount : Amount
        LUTs of four inputs, carries among them; block RAMs of 18 kbit; without the frame's own.
    available : Amount
        What the device has.
    fmax_mhz : float
        After routing.
    path : LongestPath
        After routing, with routing.
    frame : Amount
        What the frame took.
    """

    tools: str
    amount: Amount
    available: Amount
    fmax_mhz: float
    path: LongestPath
    frame: Amount

    def as_dict(self) -> dict[str, Any]:
        """Plain values, by the names of the command line."""
        return {
            **cells(self.amount),
            "path_ns": self.path.ns,
            "lut_levels": sum(step.startswith("logic") for step in self.path.cells),
            "path": list(self.path.cells),
            "fmax_mhz": self.fmax_mhz,
            "tool": self.tools,
            "available": cells(self.available),
            "frame": cells(self.frame),
            "blocks": {},
        }


def route(
    nextpnr: Tool, options: Sequence[str], work: Path, limit_s: float, *, goal_mhz: float, seed: int
) -> dict[str, Any]:
    """Run nextpnr in a folder; its report.

    Raises
    ------
    InputError
        If it fails, or takes more than ``limit_s`` seconds: how far it came.
    """
    log = work / "nextpnr.log"
    given = [
        "--report",
        "report.json",
        "--log",
        log.name,
        "--seed",
        str(seed),
        "--freq",
        str(goal_mhz),
        "--timing-allow-fail",
        "--quiet",
    ]
    try:
        nextpnr.run([*options, *given], work, limit_s)
    except InputError as error:
        said = log.read_text().strip().splitlines() if log.is_file() else []
        last = f"; the last line of its log: {said[-1].strip()}" if said else ""
        raise InputError(f"{error}{last}") from error
    report: dict[str, Any] = json.loads((work / "report.json").read_text())
    return report


def amount_of(report: Mapping[str, Any], kinds: Mapping[str, str], which: str) -> Amount:
    """Cells of nextpnr's report.

    Parameters
    ----------
    report
        What ``--report`` writes.
    kinds
        Field of an :class:`Amount` to the name of the cell there.
    which
        ``used`` or ``available``.
    """
    return Amount(**{k: report["utilization"][name][which] for k, name in kinds.items()})


def clocks_of(report: Mapping[str, Any]) -> tuple[Clock, ...]:
    """Clocks of a report, by the names that the design has."""
    return tuple(
        Clock(_plain(name), about["achieved"], about["constraint"])
        for name, about in report["fmax"].items()
    )


def between_of(report: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Longest path from each clock to each other one, ns."""
    found = {}
    for path in report["critical_paths"]:
        ends = [re.sub(r"^(pos|neg)edge ", "", path[end]) for end in ("from", "to")]
        if ends[0] != ends[1] and "<async>" not in ends:
            found[_plain(ends[0]), _plain(ends[1])] = _delay(path["path"])
    return found


def _plain(net: str) -> str:
    """Name of a clock in the design, without what nextpnr adds for its buffers."""
    return net.removeprefix("$glbnet$").removesuffix("$TRELLIS_IO_IN")


def path_of(report: Mapping[str, Any]) -> LongestPath:
    """The longest path from a clock edge to a clock edge."""
    paths = report["critical_paths"]
    inner = [p["path"] for p in paths if not {p["from"], p["to"]} & {"<async>"}]
    slowest: list[dict[str, Any]] = max(inner, key=_delay, default=[])
    named = tuple(
        f"{step['type']} {step['delay']:.2f} ns {step['to']['cell']}.{step['to']['port']}"
        for step in slowest
    )
    return LongestPath(_delay(slowest), named)


def _delay(path: list[dict[str, Any]]) -> float:
    return sum((step["delay"] for step in path), 0.0)
