"""Sources of a package for open tools: the whole system, its pins, yosys' script, netlist edits."""

import functools
from importlib import resources

from lightmamba.device.package.design import KERNEL, Design
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.serial import Identity
from lightmamba.hardware.soc.board import OSCILLATOR, OSCILLATOR_MHZ, RESETS, TOP, Pll
from lightmamba.hardware.synth.board import Flow
from lightmamba.hardware.synth.ecp5 import script
from lightmamba.hardware.synth.edit import FILES

__all__ = ["ACCELERATOR", "SYSTEM", "flow", "identity", "pll", "sources", "system_verilog"]

SYSTEM, ACCELERATOR = "rtl/soc.v", f"rtl/{KERNEL}.v"
PINS = ".lpf"
SYNTHESIS = resources.files("lightmamba.hardware.synth")
EDITS = '"""Edits of the netlist between yosys and nextpnr."""\n'


def pll(design: Design) -> Pll:
    """PLL of the board, for the clocks of memory and build.

    Raises
    ------
    InputError
        If it cannot make the clock of the build: one sentence with a clock that it makes.
    """
    return Pll.of(OSCILLATOR_MHZ, design.board.memory_mhz, design.clock_hz / 1e6)


def identity(design: Design) -> Identity:
    """Identity that the bitstream reports to a host."""
    (memory,) = design.board.memories
    (port,) = design.interfaces
    return Identity(
        build=build_hash(design.artifact.arch),
        clock_hz=design.clock_hz,
        memory_clock_hz=round(design.board.memory_mhz * 1e6),
        memory_log2=memory.largest.bit_length() - 1,
        word_bytes=port.bits // 8,
        turn=pll(design).turn,
    )


def system_verilog(design: Design) -> str:
    """Everything around the accelerator: pads, PLL, memory controller, serial line.

    Raises
    ------
    InputError
        As for :func:`pll`.
    """
    (port,) = design.interfaces
    return _converted(port.bits, identity(design))


@functools.cache
def _converted(bits: int, said: Identity) -> str:
    from lightmamba.hardware.soc.ulx3s import (
        to_verilog,  # pulls in Amaranth: not before it is needed
    )

    return to_verilog(bits, said)


def sources(design: Design, verilog: str) -> dict[str, str]:
    """Files of the package that no template makes, by their places in it.

    Parameters
    ----------
    design
        The build on its board.
    verilog
        Of the accelerator.
    """
    edits = {f"edits/{name}": (SYNTHESIS / name).read_text("utf-8") for name in FILES}
    edits["edits/__init__.py"] = EDITS
    return {
        ACCELERATOR: verilog,
        SYSTEM: system_verilog(design),
        "script.ys": script([SYSTEM, ACCELERATOR], TOP),
        **_pins(design),
        **edits,
    }


def flow(design: Design, verilog: str) -> Flow:
    """The system for :mod:`lightmamba.hardware.synth.board`, on version 3.0 of the board.

    The arguments are those of :func:`sources`.
    """
    files = {"soc.v": system_verilog(design), f"{KERNEL}.v": verilog}
    pins = _pins(design)[f"pins-3.0{PINS}"]
    return Flow(TOP, files, pins, {OSCILLATOR: OSCILLATOR_MHZ}, resets=RESETS)


def _pins(design: Design) -> dict[str, str]:
    """Text of the pin files by name."""
    folder = resources.files("lightmamba.device.package") / "boards" / design.board.templates
    return {one.name: one.read_text("utf-8") for one in folder.iterdir() if PINS in one.name}
