"""A yosys netlist for GW5A: its cells, what nextpnr does not time in it, and a remedy for a part.

nextpnr 0.11 leaves out of its timing analysis, without a word, every path through a LUT of fewer
than four inputs, for it has delays for the cell LUT4 only; and every path into a flip-flop whose
input comes from elsewhere than the LUT or carry beside it, for there it fills a free LUT to pass
the signal on, after the delays were looked up. :func:`timed` puts those LUTs into the netlist, and
makes every LUT a LUT4. The device holds the same cells either way.
"""

from collections import Counter, defaultdict
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.synth.absorb import last_bit
from lightmamba.synth.fanout import Family

__all__ = ["FAMILY", "count", "timed", "untimed"]

LUTS = ("LUT1", "LUT2", "LUT3", "LUT4")
WIDE = ("MUX2_LUT5", "MUX2_LUT6", "MUX2_LUT7", "MUX2_LUT8")
FAMILY = Family(
    registers=tuple(f"DFF{kind}" for kind in ("", "E", "S", "SE", "R", "RE", "P", "PE", "C", "CE")),
    logic=(*LUTS, *WIDE, "ALU"),
    shared=("CLK", "CE", "SET", "RESET", "PRESET", "CLEAR", "WRE"),
)
CELLS = dict.fromkeys((*LUTS, "ALU", "RAM16SDP1"), 1) | {"RAM16SDP2": 2, "RAM16SDP4": 4}  # LUTs
MULTIPLIERS = ("MULT12X12", "MULTALU27X18")
MEMORIES = ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")
ABOUT = (
    "nextpnr has no delays of this family's multipliers: no path into, through or out of one is "
    "in fmax_mhz"
)


def count(module: dict[str, Any]) -> Amount:
    """Cells of a module; a DSP is a block that holds one 27 x 18 or two 12 x 12 products."""
    types = Counter(cell["type"] for cell in module["cells"].values())
    return Amount(
        lut=sum(types[name] * luts for name, luts in CELLS.items()),
        ff=sum(types[name] for name in FAMILY.registers),
        dsp=types["MULTALU27X18"] + -(-types["MULT12X12"] // 2),
        bram18=sum(types[name] for name in MEMORIES),
    )


def timed(module: dict[str, Any]) -> int:
    """Change a module, in place, so that nextpnr times all of it but the multipliers.

    Each flip-flop that does not follow a LUT of its own gets one; each LUT gets four inputs.

    Returns
    -------
    int
        How many LUTs were added.
    """
    cells: dict[str, Any] = module["cells"]
    drivers, readers = _wires(cells)
    taken: set[Any] = set()  # LUTs that have their flip-flop
    first = fresh = last_bit(module)
    for name, cell in list(cells.items()):
        if cell["type"] not in FAMILY.registers:
            continue
        (bit,) = cell["connections"]["D"]
        kind = drivers.get(bit)
        if kind is None:  # a constant
            continue
        if kind in LUTS and bit not in taken and not readers[bit] & set(WIDE):
            taken.add(bit)
            continue
        fresh += 1
        cells[f"{name}_feed"] = {
            "hide_name": 0,
            "type": "LUT4",
            "parameters": {"INIT": "1" * 8 + "0" * 8},  # I3, the quickest
            "attributes": {},
            "port_directions": {"F": "output"},
            "connections": {"I3": [bit], "F": [fresh]},
        }
        cell["connections"]["D"] = [fresh]
    _widen(cells)
    return fresh - first


def untimed(module: dict[str, Any]) -> dict[str, Any]:
    """What nextpnr does not time, and how much of it there is.

    Returns
    -------
    dict
        ``about``; ``multipliers``; of the bits of their operands and products, how many there are,
        and how many come from, or go to, other cells than flip-flops, so that the logic there is
        not timed either.
    """
    cells: dict[str, Any] = module["cells"]
    drivers, readers = _wires(cells)
    registers = set(FAMILY.registers)
    operands, products = set(), set()
    for cell in cells.values():
        if cell["type"] in MULTIPLIERS:
            pins = cell["connections"]
            operands |= {bit for bit in (*pins["A"], *pins["B"]) if bit in drivers}
            products |= {bit for bit in pins["DOUT"] if readers.get(bit)}
    return {
        "about": ABOUT,
        "multipliers": sum(cell["type"] in MULTIPLIERS for cell in cells.values()),
        "operand_bits": len(operands),
        "operand_bits_behind_logic": sum(drivers[bit] not in registers for bit in operands),
        "product_bits": len(products),
        "product_bits_into_logic": sum(not readers[bit] <= registers for bit in products),
    }


def _wires(cells: dict[str, Any]) -> tuple[dict[Any, str], dict[Any, set[str]]]:
    """Type of the cell that drives each bit, and of those that read it."""
    drivers: dict[Any, str] = {}
    readers: dict[Any, set[str]] = defaultdict(set)
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][port] == "output":
                    drivers[bit] = cell["type"]
                else:
                    readers[bit].add(cell["type"])
    return drivers, readers


def _widen(cells: dict[str, Any]) -> None:
    """Make each LUT one of four inputs, in place; those added are 0."""
    inputs = [f"I{n}" for n in range(4)]
    for cell in cells.values():
        if cell["type"] in LUTS:
            bits: str = cell["parameters"]["INIT"]
            cell["type"] = "LUT4"
            cell["parameters"] = {"INIT": bits * (16 // len(bits))}
            cell["port_directions"] |= dict.fromkeys(inputs, "input")
            cell["connections"] = {pin: ["0"] for pin in inputs} | cell["connections"]
