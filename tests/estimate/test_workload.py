"""The numbers of a workload are the compiler's."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.blocks import kind
from lightmamba.blocks.mamba2.layout import block_ends
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.program import LayerNumbers, program
from lightmamba.hardware.estimate.quantities import Quantities
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.program import Op
from lightmamba.hardware.machine.spine import SECTIONS
from lightmamba.numerics.model_formats import Formats
from tests.estimate.walked import moved, walkers
from tests.support.builders import made_up, random_model, sizes
from tests.support.layers import sizes_of
from tests.support.machine import Kind

CONFIG = sizes(d_model=96, d_state=48, headdim=48, ngroups=2)
TARGET = made_up(lanes=3, state_elements=32, x_queue=192, z_queue=192)


def commands(order):
    model = random_model(CONFIG, Formats(), 0)
    arch = plan(CONFIG, Formats(), TARGET, order)
    numbers = [LayerNumbers.of(model, i, arch, {}) for i in range(len(model.layers))]
    return {i.op: i.commands for i in program(model, numbers, arch, order)}


@pytest.mark.parametrize("order", ["reordered", "naive"])
def test_rows_are_those_of_the_program(order):
    told = commands(order)[Op.IN]["epilogue"]
    begin, wanted = 0, []
    for name in SECTIONS:
        row, end = Kind(told[f"{name}_kind"]), told[f"{name}_end"]
        turns = (Kind.X, Kind.Z) if row is Kind.XZ else (row, row)
        wanted += [turns[(row - begin) % 2] for row in range(begin, end)]
        begin = end
    np.testing.assert_array_equal(
        kind("mamba2").hardware.row_kinds(sizes_of(CONFIG), order), wanted
    )


def test_lanes_work_as_the_program_says():
    work = Workload.of(CONFIG, Formats(), TARGET, "reordered")
    found, period = commands("reordered"), work.arch.scale_period
    beats = {}
    for op in (Op.IN, Op.OUT, Op.HEAD):
        told = found[op]["lanes"]
        weights = told["slots"] * told["words"] * told["parts"]
        beats[op] = weights + -(-weights // period)
    assert work.memory.stored_beats == CONFIG.n_layer * (beats[Op.IN] + beats[Op.OUT])
    assert work.head_beats(61) == beats[Op.HEAD]
    in_proj, out_proj = walkers(work)["lanes"].jobs[:2]
    for job, op in ((in_proj, Op.IN), (out_proj, Op.OUT)):
        assert job.steps == 1 + beats[op]
        assert moved(job.takes["weights"]) == beats[op]


def test_blocks_end_with_heads_and_groups():
    work = Workload.of(CONFIG, Formats(), TARGET, "naive")
    # x: four heads of 48; B and C: two groups of 48; each a block of 32 and one of 16.
    kinds, ends = block_ends(sizes_of(CONFIG), work.order, 32)
    np.testing.assert_array_equal(np.diff(ends, prepend=-1), [32, 16] * 8)
    assert np.flatnonzero(np.diff(kinds)).tolist() == [191, 287]


def test_units_count_what_the_commands_say():
    work = Workload.of(CONFIG, Formats(), TARGET, "reordered")
    found, told = Quantities.of(work).unit_cycles, commands("reordered")
    layers, once = CONFIG.n_layer, told[Op.IN]
    assert found["conv"] == layers * (once["conv"]["count"] + -(-once["conv"]["count"] // 8))
    assert found["ssm"] == layers * once["ssm"]["heads"] * 48 * once["ssm"]["words"]
    assert found["gate"] == layers * once["gate"]["count"]
    assert found["quant_out"] == layers * once["quant_out"]["count"]
    # Two channels per cycle, but for those of the embedding.
    assert found["quant_in"] == (layers + 1) * 128 // 2
    assert found["residual"] == CONFIG.d_model + layers * -(-CONFIG.d_model // 2)
    # Two rows per cycle, three lanes: two cycles to a part of a slot.
    slots = [told[op]["lanes"]["slots"] * told[op]["lanes"]["parts"] for op in (Op.IN, Op.OUT)]
    assert found["epilogue"] == 2 * (layers * sum(slots) + told[Op.HEAD]["lanes"]["slots"])


def test_patterns_of_layers():
    one = sizes_of(CONFIG)
    other = replace(one, ngroups=1)
    work = Workload.of(CONFIG, Formats(), TARGET, "reordered")
    for layers, period in (((one,) * 4, 1), ((one, other) * 3, 2), ((one, other, one) * 2, 3),
                           ((one, other, other), 3), ((one,), 1)):  # fmt: skip
        assert replace(work, config=replace(CONFIG, layers=layers)).period == period
