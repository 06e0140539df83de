"""Copies of registers that many read."""

import json
from typing import Any

import pytest

from lightmamba.hardware.synth.edit import main
from lightmamba.hardware.synth.fanout import lift, spread
from tests.synth.test_absorb import cell, register

SHIFT, ELEMENTS, BITS = 10, 4, 5


def netlist(cells: dict[str, Any], **nets: int) -> dict[str, Any]:
    named = {name: {"bits": [bit]} for name, bit in nets.items()}
    return {"modules": {"top": {"cells": cells, "netnames": named}}}


def shifters() -> dict[str, Any]:
    """Registers of some elements, of some bits each, that one register moves."""
    cells: dict[str, Any] = {"shift": register(1, SHIFT), "reads": register(SHIFT, 99)}
    for element in range(ELEMENTS):
        for bit in range(BITS):
            q = 100 + element * BITS + bit
            cells[f"element{element}[{bit}]"] = register(100 + q, q)
            cells[f"any{bit}of{element}"] = cell(
                "LUT4", {"INIT": "0" * 16}, {"A": q, "B": SHIFT, "C": "0", "D": "0"}, {"Z": 200 + q}
            )
    return cells


def used(cells: dict[str, Any], element: int) -> set[Any]:
    return {cells[f"any{bit}of{element}"]["connections"]["B"][0] for bit in range(BITS)}


def test_readers_that_belong_together_share_a_copy():
    cells = shifters()
    before = len(cells)
    assert spread(netlist(cells), "top", most=6) == 3
    assert len(cells) == before + 3
    registers = [c["connections"] for c in cells.values() if c["type"] == "TRELLIS_FF"]
    copies = {pins["Q"][0] for pins in registers if pins["DI"] == [1]}
    assert len(copies) == ELEMENTS
    assert all(len(used(cells, element)) == 1 for element in range(ELEMENTS))
    assert set().union(*(used(cells, element) for element in range(ELEMENTS))) == copies


def test_a_register_with_few_readers_stays_alone():
    cells = shifters()
    assert spread(netlist(cells), "top", most=30) == 0
    assert used(cells, 0) == {SHIFT}


def test_pins_that_a_tile_shares_stay_with_the_register():
    cells = shifters()
    for n in range(40):
        cells[f"slow{n}"] = register(SHIFT, 900 + n)
        cells[f"slow{n}"]["connections"]["LSR"] = [SHIFT]
    assert spread(netlist(cells), "top", most=6) > 0
    assert all(cells[f"slow{n}"]["connections"]["LSR"] == [SHIFT] for n in range(40))


def test_a_reset_goes_through_the_global_network_and_to_logic_as_before():
    cells = shifters()
    cells["held"] = register(7, 8)
    cells["held"]["connections"]["LSR"] = [SHIFT]
    unread = 5000  # a bit that has a name and nothing else
    assert lift(netlist(cells, reset=SHIFT, unread=unread), "top", "reset") == 1
    buffer, copied = (cells[n]["connections"] for n in ("reset_buffer", "shift_global"))
    assert buffer["CLKO"] == cells["held"]["connections"]["LSR"] == [unread + 1]
    assert buffer["CLKI"] == copied["Q"] == [unread + 2]
    assert copied | {"Q": [SHIFT]} == cells["shift"]["connections"]
    assert all(used(cells, element) == {SHIFT} for element in range(ELEMENTS))


@pytest.mark.parametrize("why", ["stays", "alone", "logic"])
def test_a_global_network_takes_the_signal_itself(why):
    """Where the register must not be copied, nothing else reads it, or logic drives the signal."""
    cells = {"shift": register(1, SHIFT)} if why == "alone" else shifters()
    if why == "logic":
        pins = {"A": 1, "B": 2, "C": "0", "D": "0"}
        cells["shift"] = cell("LUT4", {"INIT": "0" * 16}, pins, {"Z": SHIFT})
    cells["held"] = register(7, 8)
    cells["held"]["connections"]["LSR"] = [SHIFT]
    before = len(cells)
    stay = {SHIFT} if why == "stays" else set()
    assert lift(netlist(cells, reset=SHIFT), "top", "reset", stay) == 1
    assert len(cells) == before + 1
    assert cells["reset_buffer"]["connections"]["CLKI"] == [SHIFT]


def test_a_reset_that_no_register_takes_stays_as_it_is():
    cells = shifters()
    before = dict(cells)
    assert lift(netlist(cells), "top", "reset") == 0
    assert lift(netlist(cells, reset=SHIFT), "top", "reset") == 0
    assert cells == before


def test_a_signal_of_many_bits_is_no_reset():
    cells = shifters()
    cells["held"] = register(7, 8)
    cells["held"]["connections"]["LSR"] = [SHIFT]
    found = netlist(cells)
    found["modules"]["top"]["netnames"]["resets"] = {"bits": [SHIFT, 11]}
    assert lift(found, "top", "resets") == 0


def test_the_program_names_the_resets_that_there_are(tmp_path):
    """A signal that resets nothing is refused; then the real reset is taken."""
    cells = shifters()
    cells["held"] = register(7, 8)
    cells["held"]["connections"]["LSR"] = [SHIFT]
    module = {"ports": {}, "cells": cells}
    module["netnames"] = {"rst": {"bits": [SHIFT], "hide_name": 0}}
    (tmp_path / "n.json").write_text(json.dumps({"modules": {"top": module}}))
    files = [str(tmp_path / name) for name in ("n.json", "e.json")]
    with pytest.raises(SystemExit, match=r"^edit: hold resets no register of top; .* rst \(1\)"):
        main([*files, "--top", "top", "--reset", "hold"])
    main([*files, "--top", "top", "--reset", "rst"])
    edited = json.loads((tmp_path / "e.json").read_text())["modules"]["top"]["cells"]
    source = edited["rst_buffer"]["connections"]["CLKI"]
    (copied,) = (c for c in edited.values() if c["connections"].get("Q") == source)
    assert copied["type"] == "TRELLIS_FF"
    assert source != [SHIFT]
