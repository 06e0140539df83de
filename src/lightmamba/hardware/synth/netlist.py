"""Verilog of a netlist for ECP5, to simulate it: each cell as a statement, or as a model of it.

Reads what yosys' ``write_json`` and nextpnr's ``--write`` give, which is what the bitstream is made
of; nothing of yosys writes this text. Registers and logic become statements; block RAMs and
multipliers are instances of the models in the folder ``cells``.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.packed import (
    WRITE_PORT,
    pins_of,
    ram_address,
    ram_contents,
    with_constants,
)
from lightmamba.hardware.synth.primitives import (
    Cell,
    block_ram,
    check,
    flag,
    multiplier,
    number,
    registers,
    table_of,
    tied,
)
from lightmamba.hardware.synth.truth import expression

__all__ = ["models_verilog", "netlist_verilog"]

MODELS = Path(__file__).parent / "cells"
GROUP = 200  # statements of a process
NOTHING = ("$scopeinfo",)
# Registers of an IOLOGIC: prefix of their parameters, input, output.
AT_PIN = (("OUTREG", "TXDATA0", "IOLDO"), ("TSREG", "TSDATA0", "IOLTO"), ("FF", "PADDI", "INFF"))
Lines = Iterator[str]


class _Writer:
    """Text of a module; a bit n is the wire ``nN``."""

    def __init__(self, module: Mapping[str, Any], unknown: int) -> None:
        self.module, self.unknown = module, unknown
        self.driven: set[int] = set()
        self.used: set[int] = set()
        self.registers: dict[int, int] = {}
        self.body: list[str] = []
        self.processes: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.count = 0

    def bit(self, bit: Any) -> str:
        """An operand for a bit that is read."""
        if isinstance(bit, int):
            self.used.add(bit)
            return f"n{bit}"
        return f"1'b{bit if bit in '01' else self.unknown}"

    def pin(self, cell: Cell, pin: str, absent: str = "0") -> str:
        """An operand for what an input pin of one bit reads, ``absent`` where nothing is said."""
        bits = cell["connections"].get(pin)
        return self.bit(bits[0] if bits else tied(cell, pin) or absent)

    def bits(self, cell: Cell, pins: str, count: int) -> str:
        """A concatenation of the input pins ``pins0``, ``pins1`` and so on."""
        each = [self.pin(cell, f"{pins}{n}") for n in reversed(range(count))]
        return f"{{{', '.join(each)}}}"

    def drive(self, cell: Cell, pin: str, value: str) -> None:
        """Assign to what an output pin drives, if it drives anything."""
        for bit in cell["connections"].get(pin) or []:
            self.driven.add(bit)
            self.body.append(f"assign n{bit} = {value};")

    def fresh(self, declaration: str, value: str = "") -> str:
        """A new wire or memory; its name."""
        self.count += 1
        name = f"m{self.count}"
        self.body.append(f"{declaration.format(name)}{f' = {value}' if value else ''};")
        return name

    def outputs(self, cell: Cell, pins: str, count: int, source: str) -> None:
        """Drive the output pins ``pins0`` and so on by the bits of a wire."""
        for n in range(count):
            self.drive(cell, f"{pins}{n}", f"{source}[{n}]")

    def text(self, top: str) -> str:
        """The module, with the wires that it needs."""
        ports = self.module["ports"]
        head, ends = [], []
        for name, port in ports.items():
            way, bits = port["direction"], port["bits"]
            if way == "inout" or not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise InputError(
                    f"the port {name} of {top} is {'an inout' if way == 'inout' else 'no word'}, "
                    "which a netlist cannot be simulated with; take the buffers of pins out"
                )
            high = f" [{len(bits) - 1}:0]" if bits[1:] else ""
            head.append(f"  {way}{high} {name} ;")
            for n, bit in enumerate(bits):
                at = f"{name}[{n}]" if bits[1:] else name
                if way == "output":
                    ends.append(f"assign {at} = {self.bit(bit)};")
                else:
                    self.driven.add(bit)
                    ends.append(f"assign n{bit} = {at};")
        wires = sorted((self.driven | self.used) - set(self.registers))
        lines = [f"module {top}({', '.join(ports)});", *head]
        lines += [f"wire n{bit};" for bit in wires]
        lines += [f"reg n{bit} = 1'b{value};" for bit, value in self.registers.items()]
        loose = sorted(self.used - self.driven - set(self.registers))
        lines += [f"assign n{bit} = 1'b{self.unknown};" for bit in loose]
        lines += self.body
        for (when, condition), all_statements in self.processes.items():
            for at in range(0, len(all_statements), GROUP):
                statements = all_statements[at : at + GROUP]
                lines += [f"always @({when})", f"  {condition} begin", *statements, "  end"]
        return "\n".join([*lines, *ends, "endmodule", ""])


def models_verilog() -> str:
    """Models of the cells that become instances."""
    return "".join(file.read_text() for file in sorted(MODELS.glob("*.v")))


def netlist_verilog(
    netlist: Mapping[str, Any],
    top: str,
    *,
    name: str = "",
    unknown: int = 0,
) -> str:
    """Write a netlist as Verilog for a simulator, without :func:`models_verilog`.

    Parameters
    ----------
    netlist
        What yosys' ``write_json`` or nextpnr's ``--write`` gives.
    top
        A flat module in it.
    name
        Name that it gets; by default its own.
    unknown
        Value of bits that are unknown or that nothing drives; a right netlist works with either.

    Raises
    ------
    InputError
        If a cell has no model, or is used in a way that its model does not have.
    """
    module = with_constants(netlist["modules"][top])
    check(module)
    writer = _Writer(module, unknown)
    for place, cell in module["cells"].items():
        kind = cell["type"]
        if kind in NOTHING:
            continue
        if kind not in CELLS:
            raise InputError(f"there is no model of the cell {kind} ({place}) to simulate")
        CELLS[kind](writer, cell)
    return writer.text(name or top)


def _lut(w: _Writer, cell: Cell) -> None:
    table = table_of(cell, "INIT")
    w.drive(cell, "Z", expression(table, [w.pin(cell, pin) for pin in "ABCD"]))


def _mux(low: str, high: str, choice: str) -> Callable[[_Writer, Cell], None]:
    def write(w: _Writer, cell: Cell) -> None:
        w.drive(cell, "Z", f"{w.pin(cell, choice)} ? {w.pin(cell, high)} : {w.pin(cell, low)}")

    return write


def _carry(w: _Writer, cell: Cell) -> None:
    """Two bits of a chain: each has a LUT for its sum, and one of A and B alone for the carry."""
    carry = w.pin(cell, "CIN")
    for n in "01":
        table, given = table_of(cell, f"INIT{n}"), [w.pin(cell, f"{p}{n}") for p in "ABCD"]
        inject = cell["parameters"][f"INJECT1_{n}"] == "YES"
        total, carry = half_of_carry(w, table, given, carry, inject)
        w.drive(cell, f"S{n}", total)
    w.drive(cell, "COUT", carry)


def half_of_carry(
    w: _Writer, table: int, given: list[str], carry: str, inject: bool
) -> tuple[str, str]:
    """Sum and carry of one bit of a chain."""
    whole = w.fresh("wire {}", expression(table, given))
    other = "1'b0" if inject else expression(table & 15, given[:2])
    out = w.fresh("wire {}", f"{whole} ? {carry} : {other}")
    return (whole if inject else f"{whole} ^ {carry}"), out


def _register(w: _Writer, cell: Cell) -> None:
    pins, given = registers(cell), w.pin
    clock, enable, reset = given(cell, "CLK"), given(cell, "CE", "1"), given(cell, "LSR")
    clock = f"negedge {clock}" if pins.falling else f"posedge {clock}"
    enable = {"1": "1'b1", "0": "1'b0", "INV": f"~{enable}"}.get(pins.enable, enable)
    reset = f"~{reset}" if pins.reset_low else reset
    value = given(cell, pins.data)
    for bit in cell["connections"].get("Q") or []:
        w.driven.add(bit)
        w.registers[bit] = pins.value
        statement = f"    n{bit} <= {value};"
        free = reset in ("1'b0", "~1'b1")
        if free and enable == "1'b1":
            w.processes[clock, ""].append(statement)
        elif free:
            w.processes[clock, f"if ({enable})"].append(statement)
        else:
            when = f"{clock} or posedge {reset}" if pins.asynchronous else clock
            held = "" if enable == "1'b1" else f"if ({enable}) "
            w.processes[when, ""].append(
                f"    if ({reset}) n{bit} <= 1'b{pins.value}; else {held}n{bit} <= {value};"
            )


def _at_pin(w: _Writer, cell: Cell) -> None:
    """Registers at a pin: of its output, of its direction, of what it reads."""
    clock = f"posedge {w.pin(cell, 'CLK')}"
    for name, source, target in AT_PIN:
        for bit in cell["connections"].get(target) or []:
            w.driven.add(bit)
            w.registers[bit] = int(flag(cell, f"{name}.REGSET", "RESET") == "SET")
            w.processes[clock, ""].append(f"    n{bit} <= {w.pin(cell, source)};")


def _lut_ram(w: _Writer, cell: Cell) -> None:
    pins = cell["connections"]
    words = number(cell, "INITVAL")

    def together(pin: str) -> str:
        return f"{{{', '.join(w.bit(bit) for bit in reversed(pins[pin]))}}}"

    name = w.fresh("reg [3:0] {}[0:15]")
    for n in range(16):
        w.body.append(f"initial {name}[{n}] = 4'd{words >> 4 * n & 15};")
    w.body.append(f"{_write(w, cell)} {name}[{together('WAD')}] <= {together('DI')};")
    word = w.fresh("wire [3:0] {}", f"{name}[{together('RAD')}]")
    for n, bit in enumerate(pins["DO"]):
        w.driven.add(bit)
        w.body.append(f"assign n{bit} = {word}[{n}];")


def _comb(w: _Writer, cell: Cell) -> None:
    """A LUT, half of a carry cell or a RAM bit, and a multiplexer behind it."""
    mode, table = flag(cell, "MODE", "LOGIC"), table_of(cell, "INITVAL")
    if mode == "RAMW_BLOCK":  # a place that is kept free
        return
    pins = {pin: w.pin(cell, pin, "1") for pin in "ABCD"}
    if mode == "CCU2":
        inject = flag(cell, "CCU2_INJECT1", "NO") == "YES"
        total, carry = half_of_carry(w, table, list(pins.values()), w.pin(cell, "FCI"), inject)
        w.drive(cell, "F", total)
        w.drive(cell, "FCO", carry)
        return
    if mode == "DPRAM":
        value = w.fresh("reg {}[0:15]")
        contents = ram_contents(cell)
        w.body += [f"initial {value}[{n}] = {contents >> n & 1};" for n in range(16)]
        at = ", ".join(w.pin(cell, f"WAD{n}") for n in (3, 2, 1, 0))
        w.body.append(f"{_write(w, cell)} {value}[{{{at}}}] <= {w.pin(cell, 'WD')};")
        value = f"{value}[{ram_address(pins)}]"
    else:
        value = expression(table, list(pins.values()))
    value = w.fresh("wire {}", value)
    w.drive(cell, "F", value)
    if used := pins_of(cell):
        low, high = ("FXA", "FXB") if used == "FX" else ("", "F1")
        w.drive(
            cell,
            "OFX",
            f"{w.pin(cell, 'M')} ? {w.pin(cell, high)} : {w.pin(cell, low) if low else value}",
        )


def _write_port(w: _Writer, cell: Cell) -> None:
    for output, given in WRITE_PORT.items():
        w.drive(cell, output, w.pin(cell, given))


def _pad(w: _Writer, cell: Cell) -> None:
    """A pin; one that is both input and output is refused with its port."""
    if flag(cell, "DIR", "INPUT") == "INPUT":
        w.drive(cell, "O", w.pin(cell, "B"))
    else:
        w.drive(cell, "B", w.pin(cell, "I"))


def _write(w: _Writer, cell: Cell) -> str:
    """When a RAM of LUTs is written."""
    write = w.pin(cell, "WRE")
    write = {"1": "1'b1", "0": "1'b0", "INV": f"~{write}"}.get(flag(cell, "WREMUX", "WRE"), write)
    edge = "negedge" if flag(cell, "WCKMUX", "WCK") == "INV" else "posedge"
    return f"always @({edge} {w.pin(cell, 'WCK')}) if ({write})"


def _buffer(w: _Writer, cell: Cell) -> None:
    w.drive(cell, "CLKO", w.pin(cell, "CLKI"))


def _multiplier(w: _Writer, cell: Cell) -> None:
    product = w.fresh("wire [35:0] {}")
    pins = {pin: w.pin(cell, pin) for pin in ("CLK0", "SIGNEDA", "SIGNEDB")}
    # A pin that is not connected is 1 (nextpnr ecp5/pack.cc: "Default state is 1").
    pins |= {pin: w.pin(cell, pin, "1") for pin in ("CE0", "RST0")}
    pins |= {pin: w.bits(cell, pin, 18) for pin in "AB"}
    w.body.append(_instance("MULT18X18D", multiplier(cell), pins | {"P": product}, w))
    w.outputs(cell, "P", 36, product)


def _block_ram(w: _Writer, cell: Cell) -> None:
    pins = {}
    for side in "AB":
        for pin, absent in (("CLK", "0"), ("CE", "1"), ("OCE", "1"), ("WE", "0")):
            pins[pin + side] = w.pin(cell, pin + side, absent)
        pins[f"AD{side}"] = w.bits(cell, f"AD{side}", 14)
        pins[f"DI{side}"] = w.bits(cell, f"DI{side}", 18)
        pins[f"DO{side}"] = out = w.fresh("wire [17:0] {}")
        w.outputs(cell, f"DO{side}", 18, out)
    w.body.append(_instance("DP16KD", block_ram(cell), pins, w))


def _instance(kind: str, parameters: Mapping[str, str], pins: Mapping[str, str], w: _Writer) -> str:
    w.count += 1
    given = ", ".join(f".{name}({value})" for name, value in parameters.items())
    wired = ", ".join(f".{name}({value})" for name, value in pins.items())
    return f"{kind} #({given}) u{w.count} ({wired});"


CELLS: dict[str, Callable[[_Writer, Cell], None]] = {
    "LUT4": _lut,
    "PFUMX": _mux("BLUT", "ALUT", "C0"),
    "L6MUX21": _mux("D0", "D1", "SD"),
    "CCU2C": _carry,
    "TRELLIS_FF": _register,
    "TRELLIS_DPR16X4": _lut_ram,
    "DCCA": _buffer,
    "TRELLIS_COMB": _comb,
    "TRELLIS_RAMW": _write_port,
    "TRELLIS_IO": _pad,
    "IOLOGIC": _at_pin,
    "MULT18X18D": _multiplier,
    "DP16KD": _block_ram,
}
