"""The model of the cells, against itself and against what yosys makes of a machine."""

from dataclasses import astuple, replace

import pytest
from bench.synth import machines

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate.resources import CELLS, GROUPS, group_of, resources, unmeasured
from lightmamba.hardware.rtl.top import to_verilog
from lightmamba.hardware.synth import synthesize
from tests.support.tools import needs_yosys


def total(arch: ArchConfig) -> Amount:
    return sum(resources(arch).values(), Amount())


@needs_yosys
@pytest.mark.slow
def test_a_machine_that_it_was_not_fitted_to():
    arch = replace(
        ArchConfig(), lanes=3, port_bits=256, state_elements=32, state_port_bits=256,
        aux_port_bits=128, weight_fifo=100, state_fifo=300, x_queue=40, z_queue=600,
    )  # fmt: skip
    found, predicted = synthesize(to_verilog(arch), "lightmamba").total, total(arch)
    for cell in CELLS:
        here, there = getattr(found, cell), getattr(predicted, cell)
        assert there == pytest.approx(here, rel=0.05, abs=0.5), cell


def test_luts_of_four_inputs():
    """A device's own LUTs: more of them for the same machine, and nothing else."""
    arch = ArchConfig()
    device = Target.load("ulx3s").resources
    assert device is not None
    assert device.lut_scale == 1.9
    found = sum(resources(arch, device).values(), Amount())
    assert found.lut == pytest.approx(1.9 * total(arch).lut)
    assert replace(found, lut=0) == replace(total(arch), lut=0)


def test_packed_multipliers_take_dsps_and_spare_luts():
    """Four products in each; a lane keeps less than half of its LUTs."""
    plain = ArchConfig(lanes=32, port_bits=512, tokens=4)
    packed = replace(plain, packed=True)
    assert total(packed).dsp - total(plain).dsp == pytest.approx(32 * 128 * 4 / 4)
    before, after = (resources(arch)["lanes"].lut / 32 for arch in (plain, packed))
    assert before == pytest.approx(19066, rel=0.02)  # a lane alone, synthesized
    assert after == pytest.approx(8812, rel=0.02)  # the same, with half of the two lanes' products


@pytest.mark.parametrize(
    "more",
    [
        {"lanes": 5}, {"port_bits": 256}, {"state_elements": 128}, {"state_port_bits": 512},
        {"aux_port_bits": 256}, {"weight_fifo": 1024}, {"state_fifo": 4096}, {"x_queue": 2000},
        {"in_channels": 1 << 12},
    ],
)  # fmt: skip
def test_more_of_anything_takes_no_fewer_cells(more):
    small, large = total(ArchConfig()), total(replace(ArchConfig(), **more))
    grown = [b - a for a, b in zip(astuple(small), astuple(large), strict=True)]
    assert max(grown) > 0
    # A memory may leave LUTs for block RAM, or block RAM for UltraRAM.
    assert large.lut > small.lut or large.bram18 > small.bram18 or large.uram > small.uram


@pytest.mark.parametrize(
    ("name", "lut", "ff"), [("ecp5, demo", 852, 1566), ("tiny, demo", 1113, 2186)]
)
def test_counters_that_are_left_out(name, lut, ff):
    """Against what yosys found with and without them."""
    arch = machines()[name]
    less = total(replace(arch, counters=False))
    assert total(arch).lut - less.lut == pytest.approx(lut, rel=0.2)
    assert total(arch).ff - less.ff == pytest.approx(ff, rel=0.2)


def test_every_block_has_a_group():
    assert group_of("units.lanes.lane*") == "lanes"
    assert group_of("units.lanes.pair*") == "lanes"
    assert group_of("units.lanes") == "lane control"
    assert group_of("memory.read_lane*") == "weight readers"
    assert group_of("memory.read_conv_params") == "other readers and writers"
    assert group_of("something.new") == GROUPS[-1].name


# Widths of hardware, and what exceptions of 8 bits add to a lane and to the buffer of activations
# (LUTs and FFs of `rtl.lane.Lane` and `rtl.activations.ActivationBuffer`, synthesized).
WEIGHTS, ACTS = {"wide_weight_bits": 8}, {"wide_act_bits": 8}
EIGHT = {"multiplier_bits": 8}


@pytest.mark.parametrize(
    ("base", "exceptions", "lane", "buffer"),
    [
        ({}, WEIGHTS, (6, 5), (0, 0)),
        ({}, ACTS, (2, 1), (28, 64)),
        ({}, WEIGHTS | ACTS, (28, 29), (28, 64)),
        (EIGHT, WEIGHTS, (61, 37), (0, 0)),
        (EIGHT, ACTS, (2, 1), (27, 64)),
        (EIGHT, WEIGHTS | ACTS, (81, 61), (27, 64)),
        (EIGHT | {"act_bits": 8}, WEIGHTS, (79, 60), (0, 0)),
    ],
)
def test_exceptions_of_8_bits(base, exceptions, lane, buffer):
    plain = replace(ArchConfig(), lanes=1, port_bits=32, **base)
    wide = replace(plain, **exceptions)
    for name, wanted in (("lanes", lane), ("activations", buffer)):
        before, after = (resources(arch)[name] for arch in (plain, wide))
        assert (after.lut - before.lut, after.ff - before.ff) == pytest.approx(wanted, abs=10), name


def test_arithmetic_that_was_not_measured_has_no_area():
    arch = replace(ArchConfig(), weight_bits=8)
    assert resources(arch) == {}
    assert unmeasured(arch) == (
        "area and energy are unknown: no accelerator with lanes of 8 x 4 bits was synthesized, "
        "only 4 x 4, 4 x 8, 8 x 8; try multiplier_bits = 8 in the target"
    )
    assert unmeasured(replace(arch, multiplier_bits=8)) == ""
