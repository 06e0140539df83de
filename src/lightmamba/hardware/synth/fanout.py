"""Registers of a netlist whose readers are many and far apart.

One register holds a shift amount for all 32 elements of the state, 2,336 readers; a wire to all of
them crosses the entire device, and pulls unrelated logic together. Such registers get one
copy for a few readers (:func:`spread`). A reset uses a global network like the clock
(:func:`lift`), because nextpnr promotes only clocks.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from itertools import groupby
from typing import Any

from .absorb import FF, last_bit

__all__ = ["lift", "spread"]

LOGIC = ("LUT4", "PFUMX", "L6MUX21", "CCU2C")  # cells without memory
SHARED = ("CLK", "LSR", "CE", "WCK", "WRE")  # pins that a tile has few wires for
DEPTH = 2  # cells of logic that are looked through
Pin = tuple[str, str, int]  # cell, port, index


def spread(netlist: dict[str, Any], top: str, most: int = 64, stay: Collection[Any] = ()) -> int:
    """Give no register of the module ``top`` more than about ``most`` readers, in place.

    Readers stay together that read the same other signals. Pins that a tile shares stay with the
    register: copies there leave no legal place. Registers must have the names of their
    signals (:func:`lightmamba.hardware.synth.absorb.name_registers`). Registers that drive a bit of
    ``stay`` get no copies.

    Returns
    -------
    int
        How many registers were added.
    """
    module = netlist["modules"][top]
    cells: dict[str, Any] = module["cells"]
    driver: dict[Any, str] = {}
    readers: dict[Any, list[Pin]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for n, bit in enumerate(bits):
                if cell["port_directions"][port] == "output":
                    driver[bit] = name
                elif not isinstance(bit, str) and port not in SHARED:
                    readers[bit].append((name, port, n))

    def belongs(name: str, depth: int = DEPTH) -> str:
        """Signal that a cell has most to do with."""
        cell = cells[name]
        if cell["type"] not in LOGIC:
            return name
        found = []
        for port, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][port] == "output" or bit not in driver:
                    continue
                if len(readers[bit]) <= most and cells[driver[bit]]["type"] not in LOGIC:
                    found.append(driver[bit])
                elif depth and cells[driver[bit]]["type"] in LOGIC:
                    found.append(belongs(driver[bit], depth - 1))
        return min((f for f in found if f), key=_order, default="")

    first = fresh = last_bit(module)
    many = [(bit, pins) for bit, pins in readers.items() if len(pins) > most]
    places = {cell: belongs(cell) for _, pins in many for cell, _, _ in pins}
    for bit, pins in many:
        name = driver.get(bit, "")
        if name not in cells or cells[name]["type"] != FF or bit in stay:
            continue
        pins.sort(key=lambda pin: (_order(places[pin[0]]), pin))
        parts: list[list[Pin]] = [[]]
        for _, group in groupby(pins, key=lambda pin: re.sub(r"\[\d+\]$", "", places[pin[0]])):
            together = list(group)
            for at in range(0, len(together), most):
                if len(parts[-1]) + len(together[at : at + most]) > most:
                    parts.append([])
                parts[-1] += together[at : at + most]
        for count, part in enumerate(parts[1:], 1):
            fresh += 1
            pin_of = cells[name]["connections"]
            cells[f"{name}_copy{count}"] = cells[name] | {"connections": pin_of | {"Q": [fresh]}}
            for reader, port, n in part:
                bits = cells[reader]["connections"][port] = list(cells[reader]["connections"][port])
                bits[n] = fresh
    return fresh - first


def lift(netlist: dict[str, Any], top: str, signal: str, stay: Collection[Any] = ()) -> int:
    """Give a reset to registers of the module ``top`` through the global network, in place.

    Logic that reads the signal keeps the wire. If a register drives it, the network gets a copy of
    that register, because the buffer's place is fixed and would pull the register away from its
    logic; a signal that is in ``stay`` gets no copy.

    Returns
    -------
    int
        How many pins read it there; 0 where there is no such signal of one bit.
    """
    module = netlist["modules"][top]
    cells: dict[str, Any] = module["cells"]
    source, *others = module["netnames"].get(signal, {"bits": [None]})["bits"]
    if others or not isinstance(source, int):
        return 0
    readers = [c["connections"] for c in cells.values() if c["connections"].get("LSR") == [source]]
    if not readers:
        return 0
    fresh = 1 + last_bit(module)
    for pins in readers:
        pins["LSR"] = [fresh]
    used = [name for name, c in cells.items() if [source] in c["connections"].values()]
    name = next((n for n in used if cells[n]["connections"].get("Q") == [source]), None)
    if name and len(used) > 1 and source not in stay:
        source = fresh + 1
        copied = cells[name]["connections"] | {"Q": [source]}
        cells[f"{name}_global"] = cells[name] | {"connections": copied}
    cells[f"{signal}_buffer"] = {
        "hide_name": 0,
        "type": "DCCA",
        "parameters": {},
        "attributes": {},
        "port_directions": {"CLKI": "input", "CE": "input", "CLKO": "output"},
        "connections": {"CLKI": [source], "CE": ["1"], "CLKO": [fresh]},
    }
    return len(readers)


def _order(name: str) -> list[tuple[int, str]]:
    """Numbers in a name count as such."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
