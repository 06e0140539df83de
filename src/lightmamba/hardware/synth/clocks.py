"""Registers of a netlist for ECP5 that take a bit from another clock, or from a pin.

Such a register settles late, so nothing may follow it but a register, and there may be one of
it only: two copies would disagree for a cycle.
"""

from typing import Any

from .absorb import FF, RAM, WIDE

__all__ = ["crossings"]

LOGIC = (
    "LUT4",
    "PFUMX",
    "L6MUX21",
    "CCU2C",
    "TRELLIS_DPR16X4",
)  # their outputs follow their inputs
CLOCKS = ("CLK", "CLK0", "WCK")
USEIOFF = "syn_useioff"  # the attribute of a register that lies at its pin
PIN = "pin"


def crossings(netlist: dict[str, Any], top: str, *, pins: bool = True) -> set[Any]:
    """Bits of registers that must stay as they are.

    Those whose value comes from a register of another clock or from a pin, or whose reset waits for
    no clock, then those that follow one of them without logic between, and those that lie at pins.

    Parameters
    ----------
    netlist
        What yosys' ``write_json`` writes.
    top
        Name of a flat module in it.
    pins
        Whether inputs of the module come from nowhere in particular; a test frame has none.
    """
    module = netlist["modules"][top]
    cells: dict[str, Any] = module["cells"]
    driver: dict[Any, tuple[dict[str, Any], str]] = {}
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                driver |= dict.fromkeys(bits, (cell, port))
    entering = {
        bit
        for port in module["ports"].values()
        if pins and port["direction"] != "output"
        for bit in port["bits"]
    }
    known: dict[Any, frozenset[Any]] = {}

    def sources(begin: Any) -> frozenset[Any]:
        """Clocks of the registers that a bit follows; no recursion, as carry chains are long."""
        todo = [begin]
        while todo:
            bit = todo[-1]
            if bit in known:
                todo.pop()
                continue
            cell, at = driver.get(bit, (None, ""))
            if bit in entering:
                known[bit] = frozenset([PIN])
            elif cell is None:
                known[bit] = frozenset()
            elif cell["type"] not in LOGIC:
                known[bit] = _clocks(cell, at)
            else:
                given = [
                    b
                    for port, bits in cell["connections"].items()
                    if cell["port_directions"][port] == "input" and port not in CLOCKS
                    for b in bits
                ]
                later = [b for b in given if b not in known]
                if later:
                    todo += later
                    continue
                known[bit] = frozenset().union(*(known[b] for b in given), _clocks(cell, at))
        return known[begin]

    registers = [cell for cell in cells.values() if cell["type"] == FF]
    first = {
        cell["connections"]["Q"][0]
        for cell in registers
        if _at_once(cell)
        or USEIOFF in cell.get("attributes", {})
        or sources(cell["connections"]["DI"][0]) - frozenset(cell["connections"]["CLK"])
    }
    second = {c["connections"]["Q"][0] for c in registers if c["connections"]["DI"][0] in first}
    return first | second


def _at_once(cell: dict[str, Any]) -> bool:
    """Whether a register has a reset that waits for no clock."""
    reset = cell["connections"].get("LSR", ["0"])[0]
    return cell["parameters"].get("SRMODE") == "ASYNC" and isinstance(reset, int)


def _clocks(cell: dict[str, Any], port: str) -> frozenset[Any]:
    """Clocks that an output of a cell follows."""
    pins = cell["connections"]
    names: tuple[str, ...] = CLOCKS
    if cell["type"] == RAM:
        at_a = port.startswith("DOA") and cell["parameters"].get("DATA_WIDTH_A") not in WIDE
        names = ("CLKA",) if at_a else ("CLKB",)
    return frozenset(bit for name in names for bit in pins.get(name, []) if isinstance(bit, int))
