"""A netlist for GW5A that nextpnr times in full, and place and route of it."""

import re
from typing import Any

import pytest
from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.amount import Amount
from lightmamba.errors import InputError
from lightmamba.synth import gowin, place_gowin
from lightmamba.synth.gowin_netlist import count, timed, untimed
from lightmamba.synth.harness import Harness
from lightmamba.synth.placed import Unrouted
from lightmamba.synth.tools import Tool, find_gowin, find_yosys
from tests.synth.test_absorb import cell

from .machines import Machine, needs_gowin, text

MACHINE_FF = 2 * 36 + 12 + 9 - 12  # as in test_ecp5


def register(d: Any, q: Any) -> dict[str, Any]:
    return cell("DFF", {}, {"D": d, "CLK": 1}, {"Q": q})


def product(a: list[Any], b: list[Any], y: list[Any]) -> dict[str, Any]:
    made = cell("MULT12X12", {}, {"A": 0, "B": 0}, {"DOUT": 0})
    made["connections"] |= {"A": a, "B": b, "DOUT": y}
    return made


def module(cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": cells, "netnames": {}}


def test_a_register_without_a_lut_of_its_own_gets_one():
    cells = {
        "from_register": register(21, 11),
        "first": register(20, 21),  # of the LUT that it follows
        "second": register(20, 22),
        "from_carry": register(30, 31),
        "constant": register("0", 41),
        "lut": cell("LUT2", {"INIT": "0110"}, {"I0": 11, "I1": 21}, {"F": 20}),
        "carry": cell("ALU", {}, {"I0": 11, "I1": 21}, {"SUM": 30}),
    }
    assert timed(module(cells)) == 3
    fed = {name.removesuffix("_feed") for name in cells if name.endswith("_feed")}
    assert fed == {"from_register", "second", "from_carry"}
    for name in fed:
        lut = cells[f"{name}_feed"]["connections"]
        assert lut["F"] == cells[name]["connections"]["D"]
    assert cells["first"]["connections"]["D"] == [20]
    assert cells["from_carry_feed"]["parameters"]["INIT"] == "1111111100000000"
    pins = cells["from_carry_feed"]["connections"]
    assert [pins[f"I{n}"] for n in range(4)] == [["0"], ["0"], ["0"], [30]]


def test_every_lut_has_four_inputs_and_the_same_function():
    cells = {
        "two": cell("LUT2", {"INIT": "0110"}, {"I0": 11, "I1": 12}, {"F": 20}),
        "four": cell(
            "LUT4", {"INIT": "1000000000000001"},
            {"I0": 11, "I1": 12, "I2": 13, "I3": 20}, {"F": 21},
        ),
    }  # fmt: skip
    timed(module(cells))
    two, four = cells["two"], cells["four"]
    assert (two["type"], two["parameters"]) == ("LUT4", {"INIT": "0110" * 4})
    assert two["connections"] == {"I0": [11], "I1": [12], "I2": ["0"], "I3": ["0"], "F": [20]}
    assert four["parameters"] == {"INIT": "1000000000000001"}


def test_a_lut_in_a_wide_multiplexer_leads_to_no_register():
    cells = {
        "lut": cell("LUT1", {"INIT": "01"}, {"I0": 11}, {"F": 20}),
        "wide": cell("MUX2_LUT5", {}, {"I0": 20, "I1": 21, "S0": 22}, {"O": 23}),
        "reads": register(20, 30),
    }
    assert timed(module(cells)) == 1


def test_what_is_not_timed_is_counted():
    cells = {
        "a": register(1, 10),
        "logic": cell("LUT1", {"INIT": "01"}, {"I0": 10}, {"F": 11}),
        "b": register(1, 12),
        "product": product([10, 10, 12], [11, "0", "0"], [20, 21, 22, 23]),
        "keeps": register(20, 30),
        "keeps too": register(22, 32),
        "reads": cell("LUT1", {"INIT": "01"}, {"I0": 21}, {"F": 31}),
    }
    found = untimed(module(cells))
    assert "no path into, through or out of one" in found.pop("about")
    assert found == {
        "multipliers": 1,
        "operand_bits": 3, "operand_bits_behind_logic": 1,
        "product_bits": 3, "product_bits_into_logic": 1,
    }  # fmt: skip


def test_cells_are_counted():
    cells = {
        "lut": cell("LUT3", {"INIT": "0" * 8}, {"I0": 1}, {"F": 2}),
        "carry": cell("ALU", {}, {"I0": 1}, {"SUM": 3}),
        "small": cell("RAM16SDP4", {}, {"RAD": 1}, {"DO": 4}),
        "large": cell("SDPX9B", {}, {"ADB": 1}, {"DO": 5}),
        "register": register(5, 6),
        **{f"product{n}": product([1], [2], [7 + n]) for n in range(3)},
    }
    assert count(module(cells)) == Amount(lut=6, ff=1, dsp=2, bram18=1)


class Everything(wiring.Component):
    """Logic, carries, wide choices, memories of all kinds and both kinds of multipliers."""

    def __init__(self) -> None:
        super().__init__(
            {
                "x": In(signed(32)), "y": In(signed(16)), "e": In(1), "sum": Out(32),
                "queue": Out(32), "table": Out(32), "small": Out(16), "one": Out(1),
                "wide": Out(signed(45)), "narrow": Out(signed(22)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x, y, e = (Signal.like(port, reset_less=True) for port in (self.x, self.y, self.e))
        m.d.sync += [x.eq(self.x), y.eq(self.y), e.eq(self.e)]
        for name, shape, depth in (("queue", 32, 1024), ("small", 16, 16)):
            store = m.submodules[name] = memory.Memory(shape=shape, depth=depth, init=[])
            write = store.write_port()
            read = store.read_port(domain="sync" if depth > 16 else "comb")
            m.d.comb += [write.addr.eq(x), write.data.eq(x), write.en.eq(e), read.addr.eq(y)]
            m.d.sync += getattr(self, name).eq(read.data)
        table = [n * 0x9E3779B1 % (1 << 32) for n in range(768)]
        m.submodules.table = known = memory.Memory(shape=32, depth=768, init=table)
        look = known.read_port()
        m.d.comb += [look.addr.eq(x), self.table.eq(look.data)]
        factors = [Signal(signed(n), reset_less=True, name=f"factor{n}") for n in (27, 18, 11, 9)]
        m.d.sync += [
            self.sum.eq(self.sum + x), self.one.eq(Array(x)[y[:5]]),
            Cat(factors).eq(Cat(x, y, y ^ x[:16], e)),
            self.wide.eq(factors[0] * factors[1]), self.narrow.eq(factors[2] * factors[3]),
        ]  # fmt: skip
        return m


@needs_gowin
@pytest.mark.slow
def test_nextpnr_times_every_cell_but_the_multipliers(tmp_path):
    """The delays that it writes name the cells that it has delays for."""
    verilog = text(Everything())
    found = gowin.synthesize(
        verilog, Harness.of(verilog, "lightmamba"), find_yosys(gowin=True), tmp_path
    )
    types = {cell["type"] for cell in found["cells"].values()}
    assert {"MULT12X12", "MULTALU27X18", "ALU", "RAM16SDP4", "MUX2_LUT5"} <= types
    left_out = untimed(found)
    assert left_out["multipliers"] == 2
    assert left_out["operand_bits_behind_logic"] == left_out["product_bits_into_logic"] == 0
    timed(found)
    gowin.write(found, tmp_path)
    find_gowin().run(
        [*gowin.OPTIONS, "--timing-allow-fail", "--quiet", "--sdf", "delays.sdf"], tmp_path
    )
    kinds, without = {}, set()
    for entry in re.split(r"\(CELL\b", (tmp_path / "delays.sdf").read_text())[2:]:  # 1: the top
        kind, name = re.search(r'CELLTYPE "(\w+)"', entry), re.search(r"INSTANCE (\S+)\)", entry)
        assert kind is not None
        assert name is not None
        kinds[plain(name[1])] = kind[1]
        if "IOPATH" not in entry:
            without.add(plain(name[1]))
    assert not [name for name in kinds if "passthrough" in name]
    logic = {  # others are constants
        plain(name): cell["type"]
        for name, cell in found["cells"].items()
        if any(not isinstance(bit, str) for bit in inputs(cell))
    }
    assert len(logic) > 400
    assert {kind for name, kind in logic.items() if name in without} == {
        "MULT12X12", "MULTALU27X18", "IBUF", "OBUF"
    }  # fmt: skip


def plain(name: str) -> str:
    """A name without what formats escape in it."""
    return name.replace("\\", "")


def inputs(cell: dict[str, Any]) -> list[Any]:
    """Bits that a cell reads."""
    ways = cell["port_directions"]
    return [
        bit for pin, bits in cell["connections"].items() if ways[pin] == "input" for bit in bits
    ]


def test_cells_are_told_of_a_design_that_does_not_route(monkeypatch):
    cells = {
        **{f"lut{n}": cell("LUT1", {"INIT": "01"}, {"I0": 1}, {"F": 10 + n}) for n in range(9)},
        **{f"level{n}": register(10 + n, 100 + n) for n in range(90)},  # nine have a LUT
        "last": register(100, 200),
    }

    def fails(*_args, **_options):
        raise InputError("nextpnr was stopped")

    monkeypatch.setattr(gowin, "find_yosys", lambda **_: Tool((), ""))
    monkeypatch.setattr(gowin, "find_gowin", lambda: Tool((), ""))
    monkeypatch.setattr(gowin, "synthesize", lambda *_: module(cells))
    monkeypatch.setattr(gowin, "route", fails)
    with pytest.raises(Unrouted, match=r"^nextpnr was stopped; it has 5 LUTs and 1 that") as found:
        place_gowin(text(Machine()), "lightmamba")
    assert found.value.found == {
        "lut": 9 - 4, "ff": 91 - 41, "dsp": 0, "bram": 0, "uram": 0, "lut_through": 1,
    }  # fmt: skip


@needs_gowin
@pytest.mark.slow
def test_a_small_machine_is_placed_and_routed():
    found = place_gowin(text(Machine()), "lightmamba", goal_mhz=100)
    assert found.amount.ff == MACHINE_FF
    assert found.amount.bram18 == 1
    assert found.amount.dsp == found.untimed["multipliers"] == 0
    assert 20 < found.amount.lut < 120
    assert found.through > 12  # one for each register of the frame's shift register, at least
    assert (found.available.lut, found.available.dsp) == (138_240, 298)
    assert found.fmax_mhz == pytest.approx(1000 / found.path.ns, rel=0.05)
    assert found.path.cells[0].startswith("clk-to-q")
    assert found.as_dict()["frame"]["ff"] == 41
