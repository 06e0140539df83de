"""Registers of a yosys netlist for ECP5 that move into its multipliers and block RAMs.

Both have registers of their own, which yosys leaves out: it maps the product alone, 3.9 ns from
operand to result, and the read alone, 5.8 ns from clock to data. A vendor's tool moves registers
in, and so does :func:`absorb`: those that are always enabled and begin at 0, as theirs do.
"""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

__all__ = ["FF", "RAM", "WIDE", "absorb", "last_bit", "name_registers"]

FF, MULTIPLIER, RAM = "TRELLIS_FF", "MULT18X18D", "DP16KD"
OPERANDS = {"A": 18, "B": 18}
WIDE = (36, f"{36:032b}")  # of port A: it only writes, and B reads
PRODUCT = tuple(f"P{n}" for n in range(36))
Cell = dict[str, Any]


class _Netlist:
    """Cells of a module, and who drives and reads each bit."""

    def __init__(
        self, module: dict[str, Any], fixed: tuple[str, ...], stay: Collection[Any]
    ) -> None:
        self.cells: dict[str, Cell] = module["cells"]
        self.driver: dict[Any, str] = {}
        self.readers: dict[Any, set[str]] = defaultdict(set)
        self.gated: dict[str, int] = {}
        self.fresh = last_bit(module)
        self.fixed = set(stay) | {
            bit for net in fixed for bit in module["netnames"].get(net, {"bits": []})["bits"]
        }
        self.kept = {bit for port in module["ports"].values() for bit in port["bits"]}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = name
                    else:
                        self.readers[bit].add(name)

    def plain(self, name: str | None, *, cleared: bool = False) -> Cell | None:
        """The cell of that name, if it is a register without enable and (unless ``cleared``) reset.

        A reset here is one to 0, in the cycle of the clock edge.
        """
        cell = self.cells.get(name or "")
        if cell is None or cell["type"] != FF:
            return None
        parameters, pins = cell["parameters"], cell["connections"]
        if pins["Q"][0] in self.fixed or parameters["LSRMUX"] != "LSR":
            return None
        free = pins.get("LSR", ["0"]) == ["0"]
        if cleared and parameters.get("SRMODE") == "LSR_OVER_CE":
            free = True
        always = parameters["CEMUX"].strip() == "1" and parameters["CLKMUX"] == "CLK"
        return cell if free and always and parameters["REGSET"] == "RESET" else None

    def entering(self, name: str) -> Any:
        """Input of a register, through a new LUT where it is reset."""
        pins = self.cells[name]["connections"]
        value, reset = pins["DI"][0], pins.get("LSR", ["0"])[0]
        if reset == "0":
            return value
        if name not in self.gated:
            self.fresh += 1
            self.gated[name] = self.fresh
            self.cells[gate := f"{name}_gated"] = {
                "hide_name": 0,
                "type": "LUT4",
                "parameters": {"INIT": f"{0x2222:016b}"},  # A and not B
                "attributes": {},
                "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
                "connections": {
                    "A": [value], "B": [reset], "C": ["0"], "D": ["0"], "Z": [self.fresh]
                },
            }  # fmt: skip
            self.driver[self.fresh] = gate
            self.readers[value].add(gate)
            self.readers[reset].add(gate)
        return self.gated[name]

    def before(self, bits: list[Any]) -> tuple[list[Any], Any] | None:
        """Inputs of the registers that drive ``bits``, and their clock."""
        found, clocks = [], set()
        for bit in bits:
            if isinstance(bit, str):  # a constant
                found.append(bit)
                continue
            cell = self.plain(name := self.driver.get(bit), cleared=True)
            if cell is None or name is None:
                return None
            found.append(name)
            clocks.add(cell["connections"]["CLK"][0])
        if len(clocks) != 1:
            return None
        return [n if n in ("0", "1", "x") else self.entering(n) for n in found], clocks.pop()

    def after(self, bits: list[Any]) -> tuple[list[Any], Any] | None:
        """Outputs of the registers that alone read ``bits``, and their clock.

        A bit that nothing reads stays; one that two registers read is not for us.
        """
        found, clocks = [], set()
        for bit in bits:
            if bit in self.kept:
                return None
            readers = self.readers[bit]
            if not readers:
                found.append(bit)
                continue
            cell = self.plain(next(iter(readers)))
            if len(readers) > 1 or cell is None or cell["connections"]["DI"] != [bit]:
                return None
            found.append(cell["connections"]["Q"][0])
            clocks.add(cell["connections"]["CLK"][0])
        return (found, clocks.pop()) if len(clocks) == 1 else None

    def rewire(self, name: str, pins: list[str], bits: list[Any]) -> None:
        """Connect pins of a cell; registers that drive or read nothing any more go."""
        cell = self.cells[name]
        for pin, bit in zip(pins, bits, strict=True):
            (old,) = cell["connections"][pin]
            cell["connections"][pin] = [bit]
            if old == bit:
                continue
            if cell["port_directions"][pin] == "input":
                if old not in [b for p in cell["connections"].values() for b in p]:
                    self.readers[old].discard(name)
                self.readers[bit].add(name)
                self._drop_unread(old)
            else:
                self._drop(next(iter(self.readers[old])))
                self.driver[bit] = name

    def _drop_unread(self, bit: Any) -> None:
        name = self.driver.get(bit)
        if (
            name
            and not self.readers[bit]
            and bit not in self.kept
            and self.plain(name, cleared=True)
        ):
            source = self.cells[name]["connections"]["DI"][0]
            self._drop(name)
            self._drop_unread(source)

    def _drop(self, name: str) -> None:
        for port, bits in self.cells.pop(name)["connections"].items():
            for bit in bits:
                if port == "Q":
                    self.driver.pop(bit, None)
                else:
                    self.readers[bit].discard(name)


def last_bit(module: dict[str, Any]) -> int:
    """Highest number of a bit, of named ones that nothing drives too."""
    pins = [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    pins += [net["bits"] for net in module["netnames"].values()]
    last: int = max(bit for bits in pins for bit in bits if not isinstance(bit, str))
    return last


def absorb(
    netlist: dict[str, Any], top: str, fixed: tuple[str, ...] = (), stay: Collection[Any] = ()
) -> None:
    """Move registers of the module ``top`` into the cells next to them, in place.

    Parameters
    ----------
    netlist
        What yosys' ``write_json`` writes.
    top
        Name of a flat module in it.
    fixed
        Signals whose registers stay where they are.
    stay
        Bits of more of them, such as :func:`lightmamba.hardware.synth.clocks.crossings` gives.
    """
    known = _Netlist(netlist["modules"][top], fixed, stay)
    kinds = {name: cell["type"] for name, cell in known.cells.items()}
    for name, kind in kinds.items():
        if kind == MULTIPLIER:
            _multiplier(known, name)
        elif kind == RAM:
            wide = known.cells[name]["parameters"].get("DATA_WIDTH_A") in WIDE
            for sides in ("AB",) if wide else "AB":
                _ram(known, name, sides)


def name_registers(netlist: dict[str, Any], top: str) -> None:
    """Name registers of the module ``top`` after the signals that they hold, in place."""
    module = netlist["modules"][top]
    names: dict[Any, str] = {}
    for net, about in sorted(module["netnames"].items(), key=lambda item: -len(item[0])):
        bits = about["bits"]
        if not about["hide_name"] and net not in module["ports"]:
            names |= {bit: f"{net}[{n}]" if bits[1:] else net for n, bit in enumerate(bits)}
    cells, module["cells"] = module["cells"], {}
    for old, cell in cells.items():
        name = names.get(cell["connections"]["Q"][0], old) if cell["type"] == FF else old
        module["cells"][old if name in module["cells"] or name in cells else name] = cell


def _multiplier(known: _Netlist, name: str) -> None:
    cell = known.cells[name]
    pins = cell["connections"]

    def clocked(register: str, clock: Any) -> bool:
        if pins.setdefault("CLK0", [clock]) != [clock]:
            return False
        # A reset that nothing drives is 1, and the register always 0 (nextpnr ecp5/pack.cc).
        pins["CE0"], pins["RST0"] = ["1"], ["0"]
        cell["port_directions"] |= dict.fromkeys(("CLK0", "CE0", "RST0"), "input")
        known.readers[clock].add(name)
        cell["parameters"][f"REG_{register}_CLK"] = "CLK0"
        return True

    # Both operands or none: nextpnr knows no times of a multiplier with one in a register.
    names = [f"{operand}{n}" for operand, width in OPERANDS.items() for n in range(width)]
    names = [pin for pin in names if pin in pins]  # one that a design names itself may have fewer
    found = known.before([pins[pin][0] for pin in names])
    if found and all(clocked(f"INPUT{operand}", found[1]) for operand in OPERANDS):
        known.rewire(name, names, found[0])
    names = [pin for pin in PRODUCT if pin in pins]
    found = known.after([pins[pin][0] for pin in names])
    if found and clocked("OUTPUT", found[1]):
        known.rewire(name, names, found[0])


def _ram(known: _Netlist, name: str, sides: str) -> None:
    """Only where a read is never held, so that it does not matter what holds the register.

    A read of 36 bits has a half at each side, and one register for both: that of ``AB``.
    """
    cell = known.cells[name]
    pins = cell["connections"]
    names = [f"DO{side}{n}" for side in sides for n in range(18) if f"DO{side}{n}" in pins]
    last = sides[-1]
    if any(pins.get(f"{pin}{last}") != ["1"] for pin in ("CE", "OCE")):
        return
    if any(pins.get(f"RST{side}", ["0"]) != ["0"] for side in sides):
        return
    found = known.after([pins[pin][0] for pin in names])
    if found and [found[1]] == pins[f"CLK{last}"]:
        known.rewire(name, names, found[0])
        for side in sides:
            cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
            pins[f"OCE{side}"] = ["1"]
