"""Joules by hand, and ranges in order."""

from dataclasses import replace
from typing import Any

import pytest

from lightmamba.arch.target import Target
from lightmamba.hardware.estimate import Amount, Energy, Estimate, energy
from lightmamba.hardware.estimate.energy import Constant, constants

U280 = Target.load("u280")
FOUND = Estimate(
    clock_mhz=300.0,
    cycles=1_000_000,
    prompt_cycles=0,
    stalls={},
    channel_bytes={"hbm0": 1_000_000, "ddr4-0": 500_000},
    channel_cycles={},
    unit_cycles={"lanes": 700_000, "ssm": 300_000},
    nominal_bytes_per_cycle={},
    resources={
        "lanes": Amount(lut=1000, ff=2000, dsp=10, bram18=4),
        "ssm": Amount(lut=500, ff=100, uram=2),
        "sequencer": Amount(lut=80),
    },
)


def parts(found: Estimate = FOUND, target: Target = U280) -> Energy:
    got = energy(found, target)
    assert got is not None
    return got


def test_a_token_by_hand():
    """Likely values: picojoules per bit, toggle, register, slice and RAM of energy.toml."""
    likely = {name: value[1] for name, value in parts().parts.items()}
    pico = 1e-12
    assert likely["memory"] == pytest.approx(8 * pico * (1e6 * 5.5 + 0.5e6 * 20))
    assert likely["products"] == pytest.approx(0.7e6 * pico * (0.4 * 1000 * 0.41 + 10 * 2.7))
    assert likely["state"] == pytest.approx(0.3e6 * pico * 0.4 * 500 * 0.41)
    clocked, rams = 1e6 * 2100 * 0.022, 0.7e6 * 4 * 10.3 + 0.3e6 * 2 * 20.6
    assert likely["fabric"] == pytest.approx(pico * (clocked + rams + 1e6 * 0.125 * 80 * 0.41))
    assert likely["static"] == pytest.approx(12.0 / 300)  # watts x seconds
    assert sum(likely.values()) == pytest.approx(parts().joules[1])


def test_ranges_are_in_order():
    got = parts()
    assert set(got.parts) == {"memory", "products", "state", "fabric", "static"}
    for low, likely, high in (*got.parts.values(), got.joules, got.tokens_per_joule):
        assert 0 < low < likely < high
    for n in range(3):
        assert got.tokens_per_joule[n] == pytest.approx(1 / got.joules[2 - n])


def test_what_scales_with_what():
    base, double = parts(), parts(replace(FOUND, cycles=2_000_000))
    assert double.parts["static"][2] == pytest.approx(2 * base.parts["static"][2])
    assert double.parts["products"] == base.parts["products"]  # the lanes work as long as before
    moved = parts(replace(FOUND, channel_bytes={"ddr4-0": 1_000_000}))
    assert moved.parts["memory"][0] == pytest.approx(8e6 * 15e-12)
    assert U280.power is not None
    half = replace(U280, power=replace(U280.power, cell_scale=0.5))
    for part in ("products", "state", "fabric"):
        assert parts(FOUND, half).parts[part][1] == pytest.approx(base.parts[part][1] / 2)
    assert parts(FOUND, half).parts["memory"] == base.parts["memory"]


def test_no_energy_where_something_is_not_known():
    assert energy(FOUND, replace(U280, power=None)) is None
    assert energy(replace(FOUND, resources={}), U280) is None
    plain = tuple(replace(c, kind="") if c.name == "ddr4-0" else c for c in U280.channels)
    assert energy(FOUND, replace(U280, channels=plain)) is None
    untouched = replace(FOUND, channel_bytes={"hbm0": 1})
    assert energy(untouched, replace(U280, channels=plain)) is not None


def test_constants_are_ranges_with_unit_and_source():
    assert {"memory.hbm2", "memory.ddr3", "memory.ddr4", "memory.lpddr4"} < set(constants())
    assert constants()["memory.hbm2"].value == (3.9, 5.5, 7.0)
    wrong: Any
    for wrong in ((1.0, 2.0), (0.0, 1.0, 2.0), (1.0, 3.0, 2.0)):
        with pytest.raises(ValueError, match="low, likely and high above 0"):
            Constant(wrong, "pJ", "somewhere")
    with pytest.raises(ValueError, match="say the unit"):
        Constant((1.0, 2.0, 3.0), "pJ", " ")
