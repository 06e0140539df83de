"""Estimates: worked by hand where one thing binds, and what must hold of any."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.target import Target, target_names
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate import Estimate, estimate, model
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.native import events
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import made_up
from tests.support.layers import resized, sizes_of

DEMO, W4A4 = SHAPES["demo"], Formats()
FAST = made_up(lanes=4, beats=1.0, latency=1, state_elements=64, state_fifo=512)


def of(config: ModelConfig = DEMO, target: Target = FAST, **how: Any) -> Estimate:
    return estimate(config, W4A4, target, **how)


def slower(target: Target, beats: float, name: str = "") -> Target:
    """Channels whose names begin so, at this share of their nominal rate."""
    return replace(target, channels=tuple(
        replace(c, attainable_gb_per_s=beats * c.gb_per_s) if c.name.startswith(name) else c
        for c in target.channels
    ))  # fmt: skip


def test_rows_of_the_head_take_their_beats_twice():
    # 512 slots more of 256 / 32 = 8 beats, each in two passes, and a scale beat to 64.
    more = of(replace(DEMO, vocab_size=4096)).stalls
    less = of(replace(DEMO, vocab_size=2048)).stalls
    change = {name: more[name] - less[name] for name in CYCLES}
    wanted = dict.fromkeys(CYCLES, 0) | {"multiplying": 512 * 8 * 2, "scale": 512 * 8 // 64}
    assert change == wanted


def test_logits_leave_two_by_two():
    # 16 lanes bring 16 rows in 2 x 2 cycles: the head takes two of them per cycle.
    wide = made_up(lanes=16, port_bits=512, beats=1.0, latency=1)
    more, less = (of(replace(DEMO, vocab_size=rows), wide).cycles for rows in (4096, 2048))
    assert more - less == 1024


def test_rows_leave_in_pairs():
    # Lanes bring rows faster than they leave: dt (8); B, C and x (768 in 9 cycles to 8), beside
    # them all of z but that of the last head (64); out_proj (256, in pairs); and the time to fill
    # and drain.
    wide = made_up(
        lanes=16, port_bits=512, beats=1.0, latency=1, state_elements=128, state_port_bits=512,
        state_fifo=512,
    )  # fmt: skip
    four, five = (of(resized(DEMO, n_layer=layers), wide).cycles for layers in (4, 5))
    rows = 8 + 768 * 9 // 8 + 64 + 256 // 2
    assert rows + 300 < five - four < rows + 450


def test_layers_are_alike():
    cycles = [of(resized(DEMO, n_layer=layers)).cycles for layers in (3, 4, 5, 6)]
    assert len(set(np.diff(cycles))) == 1
    # 322 and 64 slots of 8 and 16 beats, scales; what remains is the time to fill and to drain.
    sizes = sizes_of(DEMO)
    slots = -(-sizes.in_rows // 4), DEMO.d_model // 4
    weights = slots[0] * 8 + slots[1] * 16
    beats = weights + -(-slots[0] * 8 // 64) + slots[1] * 16 // 64
    assert sizes.ngroups == 1
    assert 0 < cycles[1] - cycles[0] - beats < 500


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_slow_lanes_take_the_time_of_their_beats(share):
    found = of(target=slower(FAST, share, "lane"))
    beats = found.unit_cycles["lanes"] - 512 * 8  # the second passes of the head take no beats
    assert found.channel_cycles["lane0"] == pytest.approx(beats / share)
    assert found.bound.startswith("lane")
    assert found.cycles == pytest.approx(beats / share, rel=0.005)


def test_refresh_is_part_of_the_attainable_rate():
    slow = slower(FAST, 0.3, "lane")
    refreshed = replace(slow, channels=tuple(
        replace(c, refresh_interval_ns=3900.0, refresh_ns=300.0) for c in slow.channels
    ))  # fmt: skip
    assert of(target=refreshed).cycles == pytest.approx(of(target=slow).cycles, rel=0.01)


@pytest.mark.parametrize("name", ["", "lane", "state", "aux"])
def test_more_bandwidth_is_never_slower(name):
    cycles = [of(target=slower(FAST, share, name)).cycles for share in (0.1, 0.2, 0.4, 0.7, 1.0)]
    # A few cycles more can come of another order of requests.
    assert all(after <= before * 1.001 for before, after in pairwise(cycles))
    assert cycles[-1] < cycles[0]


@pytest.mark.parametrize("tokens", [1, 4])
def test_either_copy_of_the_state_may_be_slow(tokens):
    """A pass reads one copy and writes the other, the next one the other way round."""
    two = made_up(tokens=tokens, lanes=4, latency=1, state_elements=64, state_fifo=512, copies=2)
    slow = slower(two, 0.1, "state_read")
    mine, other = (
        replace(slow, channels=tuple(
            replace(c, attainable_gb_per_s=c.gb_per_s) if c.name == name else c
            for c in slow.channels
        ))
        for name in ("state_read", "state_read_other")
    )  # fmt: skip
    cycles = of(target=mine).cycles
    assert cycles == pytest.approx(of(target=other).cycles, rel=0.01)
    assert of(target=two).cycles < cycles < of(target=slow).cycles


def test_stalls_of_memory_cost_their_mean():
    slow = of(target=FAST, stalls=0.5)
    assert slow.cycles == pytest.approx(of(target=slower(FAST, 0.5)).cycles, rel=0.02)


def test_the_naive_order_waits_for_the_state():
    target = replace(FAST, machine=replace(FAST.machine, x_queue=512, z_queue=512))
    naive, reordered = of(target=target, order="naive"), of(target=target)
    # All of the state is worked on when in_proj is through, instead of beside it.
    more = naive.stalls["wait_activation"] - reordered.stalls["wait_activation"]
    assert more > 0.5 * naive.unit_cycles["ssm"]


def holds_state(target: Target) -> list[str]:
    """Channels that the state goes over."""
    return [c.name for c in target.channels if {"state_read", "memory"} & set(c.ports)]


@pytest.mark.parametrize("name", target_names())
@pytest.mark.parametrize(
    "shape", ["demo", "mamba2-130m", pytest.param("mamba2-2.7b", marks=pytest.mark.slow)]
)
def test_shipped_targets(name, shape, monkeypatch):
    if shape != "mamba2-2.7b":  # what must hold of any estimate does of one that runs less, too
        monkeypatch.setattr(model, "BUDGET", 80_000)
    found = estimate(SHAPES[shape], W4A4, Target.load(name))
    assert tuple(found.stalls) == CYCLES
    assert sum(found.stalls.values()) == found.cycles
    assert found.stalls["multiplying"] + found.stalls["scale"] == pytest.approx(
        found.unit_cycles["lanes"], rel=1e-4
    )
    # It waits for the answers of its writes and reads its state from its own beginning on: a token
    # of a chain does neither, and where the state binds that is all it takes.
    state = max(found.channel_cycles[c] for c in holds_state(Target.load(name)))
    assert found.prompt_cycles < 1.1 * found.cycles + state
    assert found.bound in {**found.channel_cycles, **found.unit_cycles}
    assert found.cycles > 0.998 * found.bound_cycles
    assert 0 < found.bandwidth_utilization < 1
    # Every weight is read once.
    c, sizes = SHAPES[shape], sizes_of(SHAPES[shape])
    rows = c.n_layer * (sizes.in_rows + sizes.d_inner) + c.vocab_size
    assert sum(found.channel_bytes.values()) > rows * c.d_model / 2


def test_a_few_layers_stand_for_all(monkeypatch):
    config = resized(SHAPES["mamba2-130m"], n_layer=12, vocab_size=8192)
    target = Target.load("vck190-paper")
    found = estimate(config, W4A4, target)
    monkeypatch.setattr(model, "BUDGET", 1 << 40)
    monkeypatch.setattr(model, "MOST", 12)
    assert found.cycles == pytest.approx(estimate(config, W4A4, target).cycles, rel=0.002)


def test_lanes_that_are_alike_are_looked_at_once(monkeypatch):
    target = replace(FAST, channels=tuple(
        replace(c, attainable_gb_per_s=0.6 * c.gb_per_s, refresh_interval_ns=3900.0,
                refresh_ns=260.0) for c in FAST.channels
    ))  # fmt: skip
    some = of(target=target).cycles
    monkeypatch.setattr(model, "LANES", 4)
    assert some == pytest.approx(of(target=target).cycles, rel=0.005)


def test_refusals():
    with pytest.raises(InputError, match="stalls must be a probability"):
        of(stalls=1.0)
    with pytest.raises(InputError, match="multiplier_bits = 8"):
        estimate(DEMO, Formats(8, 8, head_weight_bits=8), FAST)


def test_whole_numbers_keep_the_sum():
    values = np.array([0.5, 0.5, 0.5, 10.49, 0.0, 0.51])
    found = model.integers(values)
    assert found.sum() == round(values.sum())
    assert np.all(np.abs(found - values) <= 1)


def test_without_the_kernels_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(events, "kernels", lambda isa: None)
    with pytest.raises(InputError, match="the estimate needs the compiled kernels"):
        of()


def test_entries_name_fields_of_their_structs():
    with pytest.raises(ValueError, match=r"struct Job of events\.hpp has no first"):
        events._array([{"begin": 0, "first": 1}], "Job")
    assert events._array([], "Job").shape == (0, 3)
    declared = re.findall(r"enum (?:Mode|When) {(.*?)}", events.HEADER.read_text())
    for kind, names in zip((events.Mode, events.When), declared, strict=True):
        assert [each.name for each in kind] == names.replace(",", " ").split()
    reasons = re.search(r"REASONS = (\d+);", events.HEADER.read_text())
    assert reasons is not None
    assert int(reasons[1]) == len(CYCLES)
    assert CYCLES[-1] == "idle"
