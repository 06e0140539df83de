"""Costs, shares of a device, and the front of those that no other beats."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate import Amount
from lightmamba.hardware.estimate.objectives import (
    OBJECTIVES,
    chosen,
    device_share,
    dominates,
    front,
)
from tests.explore.standin import target

ALL = tuple(OBJECTIVES.values())
figures = st.sampled_from([0.5, 0.9, 1.0, 1.0004, 1.004, 1.01, 2.0, 1234.0, 1236.0])
points = st.lists(st.fixed_dictionaries({o.key: figures for o in ALL}), max_size=12)


def exactly_beats(a, b):
    """Whether ``a`` is nowhere worse and somewhere better, in the figures as they are."""
    signed = [(a[o.key], b[o.key]) if o.more else (-a[o.key], -b[o.key]) for o in ALL]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


@given(points)
def test_nothing_on_the_front_is_beaten_and_all_else_is(values):
    found = [values[i] for i in front(values, ALL)]
    assert not any(exactly_beats(a, b) for a in found for b in found)
    costs = [[o.cost(one) for o in ALL] for one in found]
    for one in values:
        mine = [o.cost(one) for o in ALL]
        assert any(mine == cost or dominates(cost, mine) for cost in costs)
    assert len({tuple(cost) for cost in costs}) == len(found)
    assert costs == sorted(costs)


def test_worked_front():
    speed, size = OBJECTIVES["speed"], OBJECTIVES["size"]
    values = [
        {"tokens_per_second": s, "device_share": d}
        for s, d in [(10, 0.5), (20, 0.6), (9, 0.5), (20, 0.7), (30, 0.9), (10.001, 0.4999), (1, 1)]
    ]
    assert front(values, (speed, size)) == [4, 1, 5]
    assert front([], (speed, size)) == []


def test_worked_costs():
    assert OBJECTIVES["speed"].cost({"tokens_per_second": 303.4}) == -303
    assert OBJECTIVES["size"].cost({"device_share": 0.12345}) == 0.123
    assert OBJECTIVES["accuracy"].cost({"perplexity_ratio": 1.0027}) == 1.003


def test_objectives_by_name():
    assert chosen(["accuracy", "speed"]) == (OBJECTIVES["speed"], OBJECTIVES["accuracy"])
    with pytest.raises(InputError, match="no objective 'power'; choose from speed, prefill, batch"):
        chosen(["speed", "power"])
    with pytest.raises(InputError, match="at least two objectives"):
        chosen(["speed", "speed"])


def test_share_of_a_device():
    device = target(lut=1000, bram18=100, uram=10).resources
    assert device is not None
    assert device_share(Amount(lut=500, uram=9), device) == (0.9, "uram")
    assert device_share(Amount(), device) == (0.0, "lut")
    without = replace(device, uram=0)
    assert device_share(Amount(lut=100, bram18=10, uram=2), without) == (0.42, "bram18")
    assert device_share(Amount(dsp=1), replace(device, dsp=0)) == (float("inf"), "dsp")
