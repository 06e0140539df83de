"""Registers that move into the multipliers and block RAMs of an ECP5."""

from typing import Any

from lightmamba.hardware.synth.absorb import absorb, name_registers

CLK, RESET = 2, 3
FREE = {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"}


def cell(
    kind: str, parameters: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]
) -> dict[str, Any]:
    ways = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    pins = {pin: [bit] for pin, bit in (inputs | outputs).items()}
    return {
        "type": kind,
        "parameters": dict(parameters),
        "port_directions": ways,
        "connections": pins,
    }


def register(d: Any, q: int, **more: Any) -> dict[str, Any]:
    return cell("TRELLIS_FF", FREE | more, {"DI": d, "CLK": CLK, "LSR": "0"}, {"Q": q})


def product(**more: Any) -> dict[str, Any]:
    """a·b of one bit each, a register before each and one behind: nets 10 to 15."""
    operands = {f"{o}{n}": "0" for o in "AB" for n in range(18)} | {"A0": 12, "B0": 13}
    return {
        "a": register(10, 12, **more),
        "b": register(11, 13),
        "times": cell("MULT18X18D", {}, operands, {"P0": 14, "P1": 16}),
        "p": register(14, 15),
    }


def absorbed(cells: dict[str, Any], *fixed: str) -> dict[str, Any]:
    ports = {"i": {"bits": [10, 11]}, "o": {"bits": [15]}}
    module = {"ports": ports, "cells": cells, "netnames": {"result": {"bits": [15]}}}
    absorb({"modules": {"top": module}}, "top", fixed)
    return cells


def test_registers_around_a_multiplier_move_in():
    cells = absorbed(product())
    times = cells["times"]
    assert list(cells) == ["times"]
    assert times["parameters"] == {
        "REG_INPUTA_CLK": "CLK0",
        "REG_INPUTB_CLK": "CLK0",
        "REG_OUTPUT_CLK": "CLK0",
    }
    pins = times["connections"]
    assert [pins[pin] for pin in ("A0", "B0", "P0", "CLK0")] == [[10], [11], [15], [CLK]]


def test_a_register_that_others_read_stays_for_them():
    cells = product()
    cells["other"] = register(12, 17)
    absorbed(cells)
    assert set(cells) == {"a", "times", "other"}
    assert cells["a"]["connections"]["Q"] == cells["other"]["connections"]["DI"]
    assert cells["times"]["connections"]["A0"] == [10]


def test_a_register_that_is_reset_leaves_its_reset_behind():
    cells = product(SRMODE="LSR_OVER_CE")
    cells["a"]["connections"]["LSR"] = [RESET]
    absorbed(cells)
    gate = cells["a_gated"]
    assert (gate["connections"]["A"], gate["connections"]["B"]) == ([10], [RESET])
    for value in range(16):
        a, b = value & 1, value >> 1 & 1
        assert gate["parameters"]["INIT"][15 - value] == str(a & ~b & 1)
    assert cells["times"]["connections"]["A0"] == gate["connections"]["Z"]


def test_a_register_that_is_held_or_begins_at_1_stays_and_that_of_the_other_operand():
    for more in ({"CEMUX": "CE"}, {"REGSET": "SET"}, {"CLKMUX": "INV"}):
        cells = absorbed(product(**more))
        assert set(cells) == {"a", "b", "times"}
        assert cells["times"]["parameters"] == {"REG_OUTPUT_CLK": "CLK0"}


def test_a_product_that_something_else_reads_keeps_its_register():
    cells = product()
    cells["look"] = cell("LUT4", {}, {"A": 14}, {"Z": 18})
    absorbed(cells)
    assert "REG_OUTPUT_CLK" not in cells["times"]["parameters"]
    assert "p" in cells


def test_registers_of_a_fixed_signal_stay():
    cells = absorbed(product(), "result")
    assert set(cells) == {"times", "p"}


def test_the_register_behind_a_ram_moves_in_where_reads_are_not_held():
    for enable, expected in (("1", {"ram"}), (RESET, {"ram", "q"})):
        inputs = {"CEB": enable, "OCEB": "1", "CLKB": CLK}
        cells = absorbed({"ram": cell("DP16KD", {}, inputs, {"DOB0": 14}), "q": register(14, 15)})
        assert set(cells) == expected
        assert ("REGMODE_B" in cells["ram"]["parameters"]) == (len(expected) == 1)


def test_a_multiplier_with_registers_is_enabled_and_not_reset():
    """An unconnected reset is 1 on this device."""
    pins = absorbed(product())["times"]["connections"]
    assert (pins["CE0"], pins["RST0"]) == (["1"], ["0"])


def test_a_ram_that_is_reset_keeps_the_register_behind_it():
    inputs = {"CEB": "1", "OCEB": "1", "CLKB": CLK, "RSTB": RESET}
    cells = absorbed({"ram": cell("DP16KD", {}, inputs, {"DOB0": 14}), "q": register(14, 15)})
    assert set(cells) == {"ram", "q"}


def test_both_halves_of_36_bits_get_a_register_or_none():
    for width in (36, f"{36:032b}"):
        for held, expected in (({}, {"ram"}), ({"CEMUX": "CE"}, {"ram", "low", "high"})):
            inputs = {"CEB": "1", "OCEB": "1", "OCEA": "0", "CLKB": CLK, "CLKA": CLK}
            ram = cell("DP16KD", {"DATA_WIDTH_A": width}, inputs, {"DOA0": 12, "DOB0": 14})
            cells = {"ram": ram, "low": register(12, 13, **held), "high": register(14, 15)}
            assert set(absorbed(cells)) == expected
            modes = {ram["parameters"].get(f"REGMODE_{side}") for side in "AB"}
            assert modes == ({"OUTREG"} if not held else {None})
            assert ram["connections"]["OCEA"] == (["1"] if not held else ["0"])


def test_a_register_of_bits_that_stay_is_left():
    cells = product()
    ports = {"i": {"bits": [10, 11]}, "o": {"bits": [15]}}
    netlist = {"modules": {"top": {"ports": ports, "cells": cells, "netnames": {}}}}
    absorb(netlist, "top", stay={12, 15})
    assert set(cells) == {"a", "b", "times", "p"}


def test_registers_are_named_after_their_signals():
    cells = {"$auto$1": register(10, 14), "$auto$2": register(11, 15), "$auto$3": register(14, 16)}
    nets = {
        "sum": {"hide_name": 0, "bits": [14, 15]},
        "block.sum": {"hide_name": 0, "bits": [14]},
        "$new": {"hide_name": 1, "bits": [16]},
        "o": {"hide_name": 0, "bits": [15]},
    }
    module = {"ports": {"o": {"bits": [15]}}, "cells": cells, "netnames": nets}
    name_registers({"modules": {"top": module}}, "top")
    assert list(module["cells"]) == ["sum[0]", "sum[1]", "$auto$3"]
