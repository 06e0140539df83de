"""A board's netlist without its pads and its PLL, to simulate all the rest of it."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from lightmamba.hardware.synth.primitives import Cell, flag

__all__ = ["unpadded"]

PAD, PLL = "TRELLIS_IO", "EHXPLLL"
CLOCK, CLOCK_MODE = "ODDRX1F", "IDDRX1_ODDRX1"  # of a forwarded clock, before and after packing
CLOCKS, STEPS = ("CLKOP", "CLKOS", "CLKOS2", "LOCK"), ("PHASESTEP", "PHASEDIR")


def unpadded(module: Mapping[str, Any]) -> dict[str, Any]:
    """Module of a board with the inner sides of its pads as ports.

    A pin that is read or driven keeps its name; one that is both becomes ``NAME_i``, ``NAME_o`` and
    ``NAME_t``. The outputs of a PLL are inputs in its place, ``clkop`` and so on, and its
    ``phasestep`` and ``phasedir`` are outputs. The pad of a forwarded clock is left out.

    Parameters
    ----------
    module
        Flat, with pads as cells, as yosys' ``write_json`` or nextpnr's ``--write`` writes it; it
        stays as it is.
    """
    pins = {bit: (name, n) for name, port in module["ports"].items()
            for n, bit in enumerate(port["bits"])}  # fmt: skip
    cells: dict[str, Any] = {}
    given: dict[str, dict[int, Any]] = defaultdict(dict)
    taken: dict[str, dict[int, Any]] = defaultdict(dict)
    clocked = {bit for cell in module["cells"].values() if _forwards(cell)
               for pin in ("Q", "IOLDO") for bit in cell["connections"].get(pin, [])}  # fmt: skip
    for name, cell in module["cells"].items():
        wires = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}
        if cell["type"] == PAD:
            way = cell["parameters"]["DIR"]
            (pin, n), both = pins[wires["B"]], way == "BIDIR"
            if way != "OUTPUT":
                given[f"{pin}_i" if both else pin][n] = wires["O"]
            # A register at the pin is packed with it, and drives it by a pin of its own.
            out = wires.get("IOLDO", wires.get("I"))
            if way != "INPUT" and out not in clocked:
                taken[f"{pin}_o" if both else pin][n] = out
            if both:
                taken[f"{pin}_t"][n] = wires.get("IOLTO", wires.get("T"))
        elif cell["type"] == PLL:
            for pin in CLOCKS:
                given[pin.lower()][0] = wires[pin]
            for pin in STEPS:
                taken[pin.lower()][0] = wires[pin]
        elif not _forwards(cell):
            cells[name] = cell
    ports = {
        name: {"direction": way, "bits": [bits[n] for n in sorted(bits)]}
        for way, side in (("input", given), ("output", taken))
        for name, bits in side.items()
    }
    return dict(module) | {"ports": ports, "cells": cells}


def _forwards(cell: Cell) -> bool:
    """Whether a cell forwards a clock to a pin."""
    kind: str = cell["type"]
    return kind == CLOCK or flag(cell, "MODE", "") == CLOCK_MODE
