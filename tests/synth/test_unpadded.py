"""A board's netlist without its pads: ports in their places, everything else as it was."""

from collections.abc import Callable
from typing import Any

import pytest

from lightmamba.hardware.synth.unpadded import unpadded


def cell(kind: str, mode: str = "", **pins: int) -> dict[str, Any]:
    return {"type": kind, "parameters": {"MODE": mode} if mode else {},
            "connections": {name: [bit] for name, bit in pins.items()}}  # fmt: skip


def pad(way: str, **pins: int) -> dict[str, Any]:
    return {"type": "TRELLIS_IO", "parameters": {"DIR": way},
            "connections": {name: [bit] for name, bit in pins.items()}}  # fmt: skip


def board() -> dict[str, Any]:
    """A clock pin, a PLL, two lines both ways, an output of two bits, a forwarded clock."""
    return {
        "ports": {
            "clk": {"direction": "input", "bits": [1]},
            "d": {"direction": "inout", "bits": [2, 3]},
            "q": {"direction": "output", "bits": [4, 5]},
            "out_clk": {"direction": "output", "bits": [6]},
        },
        "netnames": {},
        "cells": {
            "clk_pad": pad("INPUT", B=1, O=10),
            "d1": pad("BIDIR", B=3, I=21, O=22, T=23),
            "d0": pad("BIDIR", B=2, I=11, O=12, T=13),
            "q1": pad("OUTPUT", B=5, I=15),
            "q0": pad("OUTPUT", B=4, I=14),
            "clock": pad("OUTPUT", B=6, I=16),
            "ddr": cell("ODDRX1F", Q=16, SCLK=32),
            "pll": cell("EHXPLLL", CLKI=10, CLKOP=30, CLKOS=31, CLKOS2=32, LOCK=33,
                        PHASESTEP=34, PHASEDIR=35),
            "lut": cell("LUT4", A=12, Z=14),
        },
    }  # fmt: skip


def packed() -> dict[str, Any]:
    """The same after place and route: registers lie at pins, which have pins for them."""
    found = board()
    found["cells"] |= {
        "d0": pad("BIDIR", B=2, IOLDO=11, O=12, IOLTO=13),
        "d0$IOL": cell("IOLOGIC", "IREG_OREG", IOLDO=11, IOLTO=13, PADDI=12),
        "q1": pad("OUTPUT", B=5, IOLDO=15),
        "clock": pad("OUTPUT", B=6, IOLDO=16),
        "ddr": cell("IOLOGIC", "IDDRX1_ODDRX1", IOLDO=16, CLK=32),
    }
    return found


@pytest.mark.parametrize(("made", "left"), [(board, ["lut"]), (packed, ["lut", "d0$IOL"])])
def test_ports_are_the_inner_sides_of_the_pads(
    made: Callable[[], dict[str, Any]], left: list[str]
) -> None:
    before = made()
    found = unpadded(before)
    assert before == made(), "the netlist that is placed stays as it is"
    ports = {n: (p["direction"], p["bits"]) for n, p in found["ports"].items()}
    assert ports == {
        "clk": ("input", [10]),
        "d_i": ("input", [12, 22]), "d_o": ("output", [11, 21]), "d_t": ("output", [13, 23]),
        "q": ("output", [14, 15]),
        "clkop": ("input", [30]), "clkos": ("input", [31]), "clkos2": ("input", [32]),
        "lock": ("input", [33]), "phasestep": ("output", [34]), "phasedir": ("output", [35]),
    }  # fmt: skip
    assert list(found["cells"]) == left
