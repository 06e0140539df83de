"""Registers that take a bit from another clock or a pin."""

from typing import Any

from lightmamba.hardware.synth.clocks import crossings
from lightmamba.hardware.synth.fanout import spread

from .test_absorb import FREE, cell

A, B, PIN = 2, 3, 4  # two clocks and an input


def register(d: Any, q: int, clock: int, **more: Any) -> dict[str, Any]:
    return cell("TRELLIS_FF", FREE | more, {"DI": d, "CLK": clock, "LSR": "0"}, {"Q": q})


def found(cells: dict[str, Any], **options: Any) -> set[Any]:
    ports = {"i": {"direction": "input", "bits": [PIN]}}
    netlist = {"modules": {"top": {"ports": ports, "cells": cells, "netnames": {}}}}
    return crossings(netlist, "top", **options)


def test_a_bit_of_another_clock_is_kept_for_two_registers():
    cells = {
        "from": register("0", 10, A), "first": register(10, 11, B), "second": register(11, 12, B),
        "third": register(12, 13, B), "same": register(10, 14, A),
    }  # fmt: skip
    assert found(cells) == {11, 12}


def test_logic_between_is_looked_through():
    cells = {
        "from": register("0", 10, A), "mine": register("0", 20, B),
        "lut": cell("LUT4", {}, {"A": 10, "B": 20}, {"Z": 21}),
        "carry": cell("CCU2C", {}, {"A0": 21}, {"S0": 22}),
        "first": register(22, 23, B),
        "behind": cell("LUT4", {}, {"A": 23}, {"Z": 24}), "other": register(24, 25, B),
    }  # fmt: skip
    assert found(cells) == {23}


def test_pins_count_unless_they_are_a_frames():
    cells = {"first": register(PIN, 10, A), "second": register(10, 11, A)}
    assert found(cells) == {10, 11}
    assert found(cells, pins=False) == set()


def test_a_reset_that_waits_for_no_clock_counts():
    cells = {"first": register("0", 10, A, SRMODE="ASYNC"), "second": register(10, 11, A)}
    assert found(cells) == set()
    cells["first"]["connections"]["LSR"] = [7]
    assert found(cells) == {10, 11}


def test_a_read_of_a_block_ram_is_of_its_own_ports_clock():
    pins = {"CLKA": A, "CLKB": B}
    for width, expected in ((18, {31}), (36, {30})):
        ram = cell("DP16KD", {"DATA_WIDTH_A": width}, pins, {"DOA0": 20, "DOB0": 21})
        cells = {"ram": ram, "a": register(20, 30, A), "b": register(20, 31, B)}
        assert found(cells) == expected
        cells = {"ram": ram, "b": register(21, 31, B)}
        assert found(cells) == set()


def test_a_register_at_a_pin_is_kept():
    cells = {"out": register("0", 10, A), "other": register("0", 11, A)}
    cells["out"]["attributes"] = {"syn_useioff": "1"}
    assert found(cells) == {10}


def test_what_is_kept_gets_no_copies():
    cells = {"many": register("0", 10, A)}
    cells |= {f"lut{n}": cell("LUT4", {}, {"A": 10}, {"Z": 100 + n}) for n in range(9)}
    netlist = {"modules": {"top": {"cells": cells, "netnames": {}}}}
    assert spread(netlist, "top", most=4, stay={10}) == 0
    assert spread(netlist, "top", most=4) > 0


def test_a_long_chain_needs_no_recursion():
    cells = {f"lut{n}": cell("LUT4", {}, {"A": n}, {"Z": n + 1}) for n in range(100, 5000)}
    cells |= {"from": register("0", 100, A), "first": register(5000, 6000, B)}
    assert found(cells) == {6000}
