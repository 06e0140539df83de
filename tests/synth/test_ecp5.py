"""The frame, and place and route in it."""

import pytest

from lightmamba.hardware.synth import place
from lightmamba.hardware.synth.harness import Harness
from tests.support.tools import needs_nextpnr

from .machines import Machine, text

MACHINE_FF = 2 * 36 + 12 + 9 - 12  # both lanes hold b, and it is kept once


def test_the_frame_has_a_register_at_every_bit():
    frame = Harness.of(text(Machine()), "lightmamba")
    assert frame.inputs == 24
    assert frame.levels == (12, 3, 1)
    assert frame.registers == ("reset", "given", "level0", "level1", "level2")
    assert (frame.ff, frame.lut) == (1 + 24 + 12 + 3 + 1, 4)
    for bits in (".a (given[11:0])", ".b (given[23:12])", ".q (outputs[11:0])", ".rst(reset)"):
        assert bits in frame.verilog
    assert "level1[2] <= ^level0[11:8]" in frame.verilog


@needs_nextpnr
@pytest.mark.slow
def test_a_small_machine_is_placed_and_routed():
    found = place(text(Machine()), "lightmamba", goal_mhz=100)
    assert found.amount.ff == MACHINE_FF
    assert found.amount.bram18 == 1
    assert found.amount.dsp == 0
    assert 20 < found.amount.lut < 120
    assert found.available.ff == 83640
    assert found.fmax_mhz == pytest.approx(1000 / found.path.ns, rel=0.05)
    assert found.path.cells[0].startswith("clk-to-q")
    assert found.as_dict()["frame"]["ff"] == 41
