"""Cells and longest path of small blocks whose answer is known."""

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.packed import LanePair
from lightmamba.hardware.synth import Synthesis, synthesize, xcup
from lightmamba.hardware.synth.tools import Tool
from tests.support.tools import needs_yosys

from .machines import Adder, Machine, Store, text

pytestmark = needs_yosys


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache for the whole file: each run of yosys takes seconds."""
    return tmp_path_factory.mktemp("synthesis")


def run(component: object, cache: Path, *, flat: bool = False) -> Synthesis:
    return synthesize(text(component), "lightmamba", cache=cache, flat=flat)


class Product(wiring.Component):
    """A product between registers, or with an addition behind it."""

    def __init__(self, *, late: bool) -> None:
        self.late = late
        super().__init__({"a": In(signed(16)), "b": In(signed(16)), "q": Out(signed(33))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal(signed(16), reset_less=True)
        b = Signal(signed(16), reset_less=True)
        q = Signal(signed(33), reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), q.eq(a * b + (b if self.late else 0))]
        m.d.comb += self.q.eq(q)
        return m


@pytest.mark.slow
@pytest.mark.board
def test_an_adder(kept):
    found = run(Adder(32), kept, flat=True)
    assert found.total == Amount(lut=32, ff=96)
    (block,) = found.blocks
    assert (block.path.carries, block.path.luts) == (8, 1)
    # Register 399 ps with its clock buffer, a LUT2, the first carry, six more, the last sum.
    assert 1.5 < block.path.ns < 2.5
    assert run(Adder(16), kept, flat=True).blocks[0].path.ns == pytest.approx(
        block.path.ns - 4 * 0.114
    )


@pytest.mark.slow
@pytest.mark.board
def test_a_product_is_timed_through_the_dsp(kept):
    early = run(Product(late=False), kept, flat=True)
    late = run(Product(late=True), kept, flat=True)
    assert early.total.dsp == late.total.dsp == 1
    assert early.slowest.path.ns == pytest.approx(0.399 + 2.3)
    assert late.slowest.path.ns > early.slowest.path.ns + 0.5
    assert any(cell.startswith("DSP48E2") for cell in late.slowest.path.cells)


@pytest.mark.slow
def test_packed_products_are_timed_through_the_dsp(kept):
    """A DSP for each weight of two lanes and two tokens, registers before it and behind it."""
    found = run(LanePair(ArchConfig(lanes=2, tokens=2, packed=True)), kept, flat=True)
    assert found.total.dsp == 32
    assert found.slowest.path.ns <= 3.0


@pytest.mark.parametrize(
    ("depth", "width", "amount"),
    [
        (600, 36, Amount(bram18=2)),
        (4096, 72, Amount(uram=1)),
        pytest.param(512, 36, Amount(bram18=1), marks=pytest.mark.slow),
    ],
)
def test_large_memories_are_counted_by_their_size(kept, depth, width, amount):
    found = run(Store(depth, width), kept, flat=True)
    assert (found.total.bram18, found.total.uram) == (amount.bram18, amount.uram)
    assert found.total.ff == depth.bit_length() - (depth & (depth - 1) == 0)
    # The address counter is the only logic; a path begins at the memory's output, 1.2 ns behind it.
    assert found.slowest.path.ns >= 1.2


def test_small_memories_are_luts(kept):
    found = run(Store(32, 14), kept, flat=True)
    assert found.total.bram18 == found.total.uram == 0
    assert 8 <= found.total.lut <= 8 + 10


@pytest.mark.slow
def test_blocks_add_up(kept):
    machine = run(Machine(), kept)
    flat = run(Machine(), kept, flat=True)
    lane = next(block for block in machine.blocks if block.name == "units.lanes.lane*")
    assert (lane.count, lane.amount.ff) == (2, 36)
    assert machine.total.ff == 2 * 36 + 12 + 9
    assert flat.total.ff == machine.total.ff - 12  # both lanes have the same register of b
    assert machine.total.bram18 == flat.total.bram18 == 1
    assert machine.total.lut == pytest.approx(flat.total.lut, abs=6)
    assert machine.as_dict()["blocks"]["units.lanes.lane*"]["ff"] == 36


@pytest.mark.slow
def test_a_path_may_begin_at_a_block_that_was_cut_out(kept):
    units = next(b for b in run(Machine(), kept).blocks if b.name == "units")
    assert units.path.cells[0].startswith("FDRE.C->Q")  # the store, as registers at its ports
    assert units.path.luts == 1
    assert units.amount.ff == 0


def test_results_are_kept(kept, monkeypatch):
    first = run(Adder(32), kept, flat=True)
    monkeypatch.setattr(Tool, "run", lambda *_: pytest.fail("yosys was called"))
    assert run(Adder(32), kept, flat=True) == first
    with pytest.raises(pytest.fail.Exception):
        run(Adder(13), kept, flat=True)


def test_an_unknown_cell_is_not_counted_as_nothing():
    with pytest.raises(ValueError, match="it is not known what these cells take: LUT7"):
        xcup._amount({"LUT6": 1, "LUT7": 1}, ())
