"""A real shape on a whole board, as CI can afford it: cycles of a token must not creep up."""

import shutil

import pytest
from bench.full import ROWS
from bench.stored import rows

from lightmamba.arch.target import Target
from lightmamba.device.sim import chained, open_golden
from lightmamba.hardware.estimate import estimate
from lightmamba.model.config import SHAPES
from lightmamba.numerics.model_formats import Formats
from tests.sim.machines import compiled, same

NAME = "mamba2-130m on u280"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.board,
    pytest.mark.skipif(
        shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
    ),
]


def test_a_token_of_130m_on_32_lanes(tmp_path):
    """Every observable of 24 layers; cycles as recorded and as estimated."""
    row = ROWS[NAME]
    config, target = SHAPES[row.shape], Target.load(row.target)
    opened = open_golden(compiled(tmp_path, config, target, Formats()))
    for token in (5, 6):
        step = opened.golden.feed(token)
        same(step)
    cycles, _ = chained(opened.device, 10, 4)
    opened.device.simulator.close()
    expected = next(r for r in rows("full") if r["name"] == NAME)["compared_cycles"][1]
    assert step.cycles == pytest.approx(expected, rel=0.002)
    # The queues of the state are nearly full by then: these are a little faster than a long chain.
    assert cycles == pytest.approx(estimate(config, Formats(), target).cycles, rel=0.02)
