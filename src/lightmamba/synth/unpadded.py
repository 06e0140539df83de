"""A board's netlist without its pads and its PLL, to simulate all the rest of it."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["unpadded"]

PAD, CLOCK, PLL = "TRELLIS_IO", "ODDRX1F", "EHXPLLL"
CLOCKS, STEPS = ("CLKOP", "CLKOS", "CLKOS2", "LOCK"), ("PHASESTEP", "PHASEDIR")


def unpadded(module: Mapping[str, Any]) -> dict[str, Any]:
    """Module of a board with the inner sides of its pads as ports.

    A pin that is read or driven keeps its name; one that is both becomes ``NAME_i``, ``NAME_o`` and
    ``NAME_t``. The outputs of a PLL are inputs in its place, ``clkop`` and so on, and its
    ``phasestep`` and ``phasedir`` are outputs. The pad of a forwarded clock is left out.

    Parameters
    ----------
    module
        Flat, as yosys' ``write_json`` writes it, with pads as cells; it stays as it is.
    """
    pins = {bit: (name, n) for name, port in module["ports"].items()
            for n, bit in enumerate(port["bits"])}  # fmt: skip
    cells: dict[str, Any] = {}
    given: dict[str, dict[int, Any]] = defaultdict(dict)
    taken: dict[str, dict[int, Any]] = defaultdict(dict)
    clocked = {bit for cell in module["cells"].values() if cell["type"] == CLOCK
               for bit in cell["connections"]["Q"]}  # fmt: skip
    for name, cell in module["cells"].items():
        wires = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}
        if cell["type"] == PAD:
            way = cell["parameters"]["DIR"]
            (pin, n), both = pins[wires["B"]], way == "BIDIR"
            if way != "OUTPUT":
                given[f"{pin}_i" if both else pin][n] = wires["O"]
            if way != "INPUT" and wires["I"] not in clocked:
                taken[f"{pin}_o" if both else pin][n] = wires["I"]
            if both:
                taken[f"{pin}_t"][n] = wires["T"]
        elif cell["type"] == PLL:
            for pin in CLOCKS:
                given[pin.lower()][0] = wires[pin]
            for pin in STEPS:
                taken[pin.lower()][0] = wires[pin]
        elif cell["type"] != CLOCK:
            cells[name] = cell
    ports = {
        name: {"direction": way, "bits": [bits[n] for n in sorted(bits)]}
        for way, side in (("input", given), ("output", taken))
        for name, bits in side.items()
    }
    return dict(module) | {"ports": ports, "cells": cells}
