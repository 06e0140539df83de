"""Edits of a netlist for ECP5 between yosys and nextpnr, as a function and as a program.

    python3 -m edits.edit netlist.json edited.json --top soc --reset rst

This module and those that it imports need nothing but the standard library, and import each other
by their place: a package for a board holds copies of them in a folder ``edits``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .absorb import absorb, name_registers
from .clocks import crossings
from .fanout import lift, spread

__all__ = ["FILES", "edit", "main", "resets_of"]

FILES = ("absorb.py", "clocks.py", "fanout.py", "edit.py")  # of the folder ``edits``


def edit(
    netlist: dict[str, Any],
    top: str,
    *,
    fixed: tuple[str, ...] = (),
    resets: Sequence[str] = (),
    pins: bool = True,
) -> dict[str, int]:
    """Move registers into RAMs and multipliers, copy those that many read, in place.

    Parameters
    ----------
    netlist
        What yosys' ``write_json`` writes.
    top
        Name of a flat module in it; it may have several clocks.
    fixed
        Signals whose registers stay where they are.
    resets
        Signals of one bit that reset many registers: each takes a global network.
    pins
        Whether the inputs of the module are pins, whose first registers stay as they are.

    Returns
    -------
    {name: int}
        ``absorbed`` and ``copied`` registers, and for each reset the registers that it has.
    """
    cells = netlist["modules"][top]["cells"]
    stay = crossings(netlist, top, pins=pins)
    before = sum(cell["type"] == "TRELLIS_FF" for cell in cells.values())
    absorb(netlist, top, fixed, stay)
    found = {"absorbed": before - sum(cell["type"] == "TRELLIS_FF" for cell in cells.values())}
    name_registers(netlist, top)
    for reset in resets:
        found[reset] = lift(netlist, top, reset, stay)
    return found | {"copied": spread(netlist, top, stay=stay)}


def resets_of(netlist: dict[str, Any], top: str) -> str:
    """Name the signals of the module ``top`` that reset most registers."""
    module = netlist["modules"][top]
    count: dict[Any, int] = {}
    for cell in module["cells"].values():
        for bit in cell["connections"].get("LSR", []):
            count[bit] = count.get(bit, 0) + 1
    named = {
        about["bits"][0]: name
        for name, about in module["netnames"].items()
        if len(about["bits"]) == 1 and not about["hide_name"]
    }
    most = sorted((bit for bit in count if bit in named), key=lambda bit: -count[bit])[:3]
    return (
        "most have " + ", ".join(f"{named[b]} ({count[b]})" for b in most)
        if most
        else "none has any"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a netlist, edit it, and write it."""
    parser = argparse.ArgumentParser(description="edit a netlist of yosys for nextpnr-ecp5")
    parser.add_argument("netlist", type=Path, help="what write_json of yosys wrote")
    parser.add_argument("edited", type=Path, help="file to write")
    parser.add_argument("--top", required=True, help="name of the top module")
    parser.add_argument(
        "--reset", action="append", default=[], help="signal that takes a global network"
    )
    args = parser.parse_args(arguments)
    netlist = json.loads(args.netlist.read_text())
    likely = resets_of(netlist, args.top)
    done = edit(netlist, args.top, resets=args.reset)
    if unused := [reset for reset in args.reset if not done[reset]]:
        raise SystemExit(f"edit: {unused[0]} resets no register of {args.top}; {likely}")
    args.edited.write_text(json.dumps(netlist))
    print("edit:", ", ".join(f"{name} {count}" for name, count in done.items()))


if __name__ == "__main__":
    main()
