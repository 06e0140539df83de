"""Block RAMs and multipliers of a netlist for ECP5 as our models have them; uses that are refused.

A use that a model lacks is refused before a simulation. Some are refused because the device is
said to do otherwise than the documents: a reset of a block RAM's output, driven by logic, made
reads zero on a board (github.com/thejefflarson/little-cpu, ADR-0163).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lightmamba.common.errors import InputError

__all__ = ["Cell", "block_ram", "check", "flag", "multiplier", "number"]

Cell = dict[str, Any]
Given = tuple[dict[str, str], dict[str, list[Any]]]  # parameters and pins of a model
WIDTHS = (1, 2, 4, 9, 18)
WRITES = {"NORMAL": 0, "WRITETHROUGH": 1, "READBEFOREWRITE": 2}


def number(cell: Cell, name: str, default: int = 0) -> int:
    """A parameter as a number; its unknown bits are 0."""
    value = cell["parameters"].get(name, default)
    if isinstance(value, int):
        return value
    return int(value.replace("x", "0"), 2) if value else default


def flag(cell: Cell, name: str, default: str) -> str:
    """A parameter that is a word."""
    return str(cell["parameters"].get(name, default)).strip()


def multiplier(cell: Cell, fresh: Iterator[int]) -> Given:
    """Parameters and pins of the model ``MULT18X18D``; ``fresh`` numbers outputs that are open."""
    stages = {"INPUT_A": "INPUTA", "INPUT_B": "INPUTB", "PIPELINE": "PIPELINE", "OUTPUT": "OUTPUT"}
    said = {
        ours: _binary(flag(cell, f"REG_{name}_CLK", "NONE") != "NONE")
        for ours, name in stages.items()
    }
    pins = {pin: [_input(cell, pin)] for pin in ("CLK0", "SIGNEDA", "SIGNEDB")}
    # A pin that is not connected is 1 (nextpnr ecp5/pack.cc: "Default state is 1").
    pins |= {pin: [_input(cell, pin, "1")] for pin in ("CE0", "RST0")}
    pins |= {pin: [_input(cell, f"{pin}{n}") for n in range(18)] for pin in "AB"}
    return said, pins | {"P": _outputs(cell, "P", 36, fresh)}


def block_ram(cell: Cell, fresh: Iterator[int]) -> Given:
    """Parameters and pins of the model ``DP16KD``; ``fresh`` numbers outputs that are open."""
    wired = cell["connections"]
    said = {
        "COLLIDE": _binary(wired.get("CLKA") == wired.get("CLKB")),
        "INIT": f"{_contents(cell):018432b}",
    }
    pins: dict[str, list[Any]] = {}
    for side in "AB":
        said |= {
            f"DATA_WIDTH_{side}": _binary(number(cell, f"DATA_WIDTH_{side}", 18)),
            f"OUTREG_{side}": _binary(flag(cell, f"REGMODE_{side}", "NOREG") == "OUTREG"),
            f"WRITE_{side}": _binary(WRITES[flag(cell, f"WRITEMODE_{side}", "NORMAL")]),
            f"INVERT_{side}": _binary(flag(cell, f"CLK{side}MUX", "CLK") == "INV"),
        }
        for pin, absent in (("CLK", "0"), ("CE", "1"), ("OCE", "1"), ("WE", "0")):
            pins[pin + side] = [_input(cell, pin + side, absent)]
        for pin, bits in (("AD", 14), ("DI", 18)):
            pins[pin + side] = [_input(cell, f"{pin}{side}{n}") for n in range(bits)]
        pins[f"DO{side}"] = _outputs(cell, f"DO{side}", 18, fresh)
    return said, pins


def _binary(value: int) -> str:
    """A parameter of 32 bits, as netlists have them."""
    return f"{value:032b}"


def _input(cell: Cell, pin: str, absent: str = "0") -> Any:
    """Value of a pin of one bit: ``absent`` where nothing is said."""
    bits = cell["connections"].get(pin)
    return bits[0] if bits else _tied(cell, pin) or absent


def _outputs(cell: Cell, pins: str, count: int, fresh: Iterator[int]) -> list[Any]:
    """Bits that the pins ``pins0`` and so on drive."""
    wired = [cell["connections"].get(f"{pins}{n}") for n in range(count)]
    return [bits[0] if bits else next(fresh) for bits in wired]


def _tied(cell: Cell, pin: str) -> str:
    """Value of an unconnected pin of a block RAM or multiplier, where nextpnr says it; or nothing.

    Of a register the parameter inverts the pin instead.
    """
    if cell["type"] not in ("DP16KD", "MULT18X18D"):
        return ""
    value = flag(cell, f"{pin}MUX", "")
    return {"0": "0", "1": "1", "INV": "0", pin: "1"}.get(value, "")


def check(module: Mapping[str, Any]) -> None:
    """Refuse a module with a cell in a use that the models do not have.

    Raises
    ------
    InputError
        Which cell, and what of it.
    """
    checks = {
        "DP16KD": _block_ram, "MULT18X18D": _multiplier, "DCCA": _buffer, "IOLOGIC": _at_pin,
    }  # fmt: skip
    for name, cell in module["cells"].items():
        wrong = checks[cell["type"]](cell) if cell["type"] in checks else ""
        if wrong:
            raise InputError(f"{cell['type']} {name}: {wrong}")


def _constant(cell: Cell, pin: str, *allowed: str) -> bool:
    """Whether a pin is unconnected or one of these constants."""
    bits = cell["connections"].get(pin) or [_tied(cell, pin)]
    return bits[0] in ("", *allowed)


def _inverted(cell: Cell) -> str:
    """A pin that is connected and inverted, other than a clock."""
    names = [name for name in cell["parameters"] if name.endswith("MUX") and "CLK" not in name]
    pins = [name.removesuffix("MUX") for name in names if flag(cell, name, "") == "INV"]
    return next((pin for pin in pins if cell["connections"].get(pin)), "")


def _block_ram(cell: Cell) -> str:
    if pin := _inverted(cell):
        return f"{pin} is inverted, which no model has"
    wide = number(cell, "DATA_WIDTH_A", 18) == 36
    registers = {flag(cell, f"REGMODE_{side}", "NOREG") for side in "AB"}
    if wide and len(registers) > 1:
        return "its output register is that of one half of 36 bits; both halves need it or neither"
    for side in "AB":
        width = number(cell, f"DATA_WIDTH_{side}", 18)
        if width not in WIDTHS and not (wide and width == 36):
            return (
                f"port {side} has {width} bits, expected 1, 2, 4, 9 or 18, or 36 where A has them"
            )
        if not _constant(cell, f"RST{side}", "0"):
            return f"its reset RST{side} is used, which made reads zero on a board; reset no memory"
        for pin in (f"CS{side}{n}" for n in range(3)):
            if not _constant(cell, pin, "0") or flag(cell, f"CSDECODE_{side}", "0b000") != "0b000":
                return f"its select {pin} is used, which no model has"
        if flag(cell, f"WRITEMODE_{side}", "NORMAL") not in WRITES:
            return f"WRITEMODE_{side} must be one of {', '.join(WRITES)}"
        # Of 36 bits, one register is read through the enables of B.
        enables = ("CEB", "OCEA", "OCEB") if wide else (f"CE{side}", f"OCE{side}")
        if flag(cell, f"REGMODE_{side}", "NOREG") == "OUTREG":
            for pin in enables:
                if not _constant(cell, pin, "1"):
                    return f"its output register is held by {pin}, which no model has"
    if wide and not _constant(cell, "WEB", "0"):
        return "port B writes, and port A has 36 bits"
    return ""


def _multiplier(cell: Cell) -> str:
    for name in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
        clock = flag(cell, f"REG_{name}_CLK", "NONE")
        if clock not in ("NONE", "CLK0"):
            return f"REG_{name}_CLK is {clock}, expected NONE or CLK0"
        if {flag(cell, f"REG_{name}_CE", "CE0"), flag(cell, f"REG_{name}_RST", "RST0")} - {
            "CE0", "RST0",
        }:  # fmt: skip
            return f"REG_{name} has another enable or reset than CE0 and RST0"
    for pin in ("SIGNEDA", "SIGNEDB"):
        if not _constant(cell, pin, "0", "1"):
            return f"{pin} changes, expected a constant"
    for pin in ("SOURCEA", "SOURCEB"):
        if not _constant(cell, pin, "0"):
            return f"{pin} is used, which no model has"
    return ""


def _buffer(cell: Cell) -> str:
    return "" if _constant(cell, "CE", "1") else "its clock is gated, which no model has"


def _at_pin(cell: Cell) -> str:
    if flag(cell, "MODE", "NONE") != "IREG_OREG":
        return "it is more than registers at a pin, which no model has"
    for pin, value in (("CE", "1"), ("LSR", "0")):
        if not _constant(cell, pin, value):
            return f"{pin} is used, which no model has"
    inverted = [side for side in "IO" if flag(cell, f"CLK{side}MUX", "CLK") == "INV"]
    return "its clock is inverted, which no model has" if inverted else ""


def _contents(cell: Cell) -> int:
    """Initial contents as words of 18 bits, of which each INITVAL holds 16 with gaps of two."""
    words = 0
    for n in range(64):
        row = number(cell, f"INITVAL_{n:02X}")
        for k in range(16 if row else 0):
            words |= (row >> 20 * k & 0x3FFFF) << 18 * (16 * n + k)
    return words
