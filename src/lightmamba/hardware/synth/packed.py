"""Cells of a netlist after place and route, as nextpnr-ecp5's ``--write`` gives it.

Sources: nextpnr ecp5/pack.cc and cells.cc, yosys techlibs/ecp5/cells_sim.v. Logic, carries and RAM
bits are TRELLIS_COMB; constants are two of them, which become constants again. What a wire goes
through is not in these netlists: they prove the packing, not the routing.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from lightmamba.hardware.synth.absorb import last_bit
from lightmamba.hardware.synth.primitives import Cell, flag, number

__all__ = ["WRITE_PORT", "pins_of", "ram_address", "ram_contents", "with_constants", "with_ports"]

# Outputs of TRELLIS_RAMW, the write port of four RAM bits, and the inputs that they follow.
WRITE_PORT = {
    "WADO0": "D0", "WADO1": "B0", "WADO2": "C0", "WADO3": "A0",
    "WDO0": "C1", "WDO1": "A1", "WDO2": "D1", "WDO3": "B1",
}  # fmt: skip
ADDRESS = "DBCA"  # inputs of a RAM bit from bit 0 of its address on


def pins_of(cell: Cell) -> str:
    """Which of its multiplexers a TRELLIS_COMB uses for OFX: ``F1``, ``FX`` or nothing."""
    pins = cell["connections"]
    if pins.get("FXA") or pins.get("FXB"):
        return "FX"
    return "F1" if pins.get("F1") else ""


def ram_address(pins: Mapping[str, str]) -> str:
    """Address of a RAM bit from its inputs A to D."""
    return f"{{{', '.join(pins[name] for name in reversed(ADDRESS))}}}"


def ram_contents(cell: Cell) -> int:
    """Initial bits of a RAM bit by address; the parameter has them by the inputs A to D."""
    table, found = number(cell, "INITVAL"), 0
    for index in range(16):
        address = sum((index >> "ABCD".index(name) & 1) << n for n, name in enumerate(ADDRESS))
        found |= (table >> index & 1) << address
    return found


def with_constants(module: Mapping[str, Any]) -> dict[str, Any]:
    """The module with constants where cells without inputs give them."""
    constants: dict[Any, str] = {}
    kept = {}
    for name, cell in module["cells"].items():
        pins = cell["connections"]
        table = number(cell, "INITVAL") if cell["type"] == "TRELLIS_COMB" else -1
        alone = not pins_of(cell) and not any(pins.get(pin) for pin in "ABCD")
        if table in (0, 0xFFFF) and alone and flag(cell, "MODE", "LOGIC") == "LOGIC":
            constants |= dict.fromkeys(pins.get("F") or [], "1" if table else "0")
        else:
            kept[name] = cell
    cells = {}
    for name, cell in kept.items():
        pins = {
            pin: [constants.get(bit, bit) for bit in bits]
            for pin, bits in cell["connections"].items()
        }
        cells[name] = {**cell, "connections": pins}
    ports = {
        name: {**port, "bits": [constants.get(bit, bit) for bit in port["bits"]]}
        for name, port in module["ports"].items()
    }
    return {**module, "cells": cells, "ports": ports}


def with_ports(
    module: dict[str, Any],
    inputs: Mapping[str, list[str]],
    outputs: Mapping[str, list[str]],
    clock: str,
) -> dict[str, Any]:
    """Ports in place of the registers of a test frame.

    Parameters
    ----------
    module
        A module with the frame around it, edited or routed.
    inputs
        Names of the registers that become the bits of each port, from bit 0 on, and whose copies
        become the same; empty for a bit that nothing reads.
    outputs
        Names of the registers whose values become the bits of each port; empty for a constant 0.
    clock
        Name of the port of the clock, which stays.
    """
    cells, fresh = module["cells"], last_bit(module)
    copies: dict[str, list[str]] = defaultdict(list)
    for name in cells:
        copies[re.sub(r"_copy\d+$", "", name)].append(name)
    ports: dict[str, Any] = {clock: module["ports"][clock]}
    same: dict[Any, Any] = {}
    gone: set[str] = set()
    for port, names in inputs.items():
        bits = []
        for name in names:
            fresh += 1
            bits.append(fresh)
            for copy in copies[name] if name else []:
                same[cells[copy]["connections"]["Q"][0]] = fresh
                gone.add(copy)
        ports[port] = {"direction": "input", "bits": bits}
    for port, names in outputs.items():
        ends = []
        for name in names:
            gone.add(name)
            pins = cells[name]["connections"] if name else {}
            taken = "M" if name and flag(cells[name], "SD", "1") == "0" else "DI"
            (end,) = pins.get(taken) or ["0"]
            ends.append(same.get(end, end))
        ports[port] = {"direction": "output", "bits": ends}
    joined = {
        name: {
            **cell,
            "connections": {
                pin: [same.get(bit, bit) for bit in bits]
                for pin, bits in cell["connections"].items()
            },
        }
        for name, cell in cells.items()
        if name not in gone
    }
    return {**module, "ports": ports, "cells": joined}
