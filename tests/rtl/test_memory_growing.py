"""Requests for memory that grows with its sequence: all that there is, and what a pass adds."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory_growing import GrowingWalk

from .test_prefetch import always, play, sometimes

BASE, STRIDE = 0xFF_0000_4000, 0x80_3000
WALK = {"layers": 3, "base": BASE, "stride": STRIDE, "more": 24}


def reads(words: int, layers: int = 3) -> list[dict[str, int]]:
    return [{"address": BASE + n * STRIDE, "count": words, "zero": 0} for n in range(layers)]


def writes(words: int, layers: int = 3, more: int = 24) -> list[dict[str, int]]:
    return [{"address": BASE + n * STRIDE + 8 * words, "count": more} for n in range(layers)]


def test_each_layer_waits_for_the_write_of_the_pass_before():
    """The first pass finds nothing there; the second reads what the first has written."""
    answers = (100, 101, 130)
    events = {3: {"run": 1}, 10: {"start": 1, "before": 0}, 50: {"start": 1, "before": 24}}
    events |= {cycle: {"written": 1} for cycle in answers}
    dut = GrowingWalk()
    given = play(dut, WALK, events, ready={"o": always, "o_write": always}, cycles=200)
    assert [c for _, c in given["o"]] == reads(24)
    assert [cycle for cycle, _ in given["o"]] == [cycle + 1 for cycle in answers]
    assert [c for _, c in given["o_write"]] == writes(0) + writes(24)
    first = 10 + dut.latency
    assert [cycle for cycle, _ in given["o_write"][:3]] == [first, first + 1, first + 2]


@pytest.mark.parametrize("seed", range(6))
def test_random_passes(seed: int):
    """Stalls on both streams; what there is and what is added is that of the start."""
    rng = np.random.default_rng(seed)
    layers, words, at = int(rng.integers(1, 5)), 0, 8
    events = {2: {"run": 1, "layers": layers}}
    expected: tuple[list[dict[str, int]], list[dict[str, int]]] = ([], [])
    for _ in range(4):
        more = 8 * int(rng.integers(1, 4))
        events[at] = {"start": 1, "before": words, "more": more}
        events[at + 1] = {"before": 7, "more": 5}
        events |= {at + 150 + n: {"written": 1} for n in range(layers)}
        expected[0].extend(reads(words, layers) if words else [])
        expected[1].extend(writes(words, layers, more))
        words, at = words + more, at + 200
    ready = {"o": sometimes(seed, 0.3), "o_write": sometimes(seed + 9, 0.3)}
    given = play(GrowingWalk(), WALK, events, ready=ready, cycles=at)
    assert [c for _, c in given["o"]] == expected[0]
    assert [c for _, c in given["o_write"]] == expected[1]


@pytest.mark.parametrize("slow", ["o", "o_write"])
def test_a_pass_that_starts_early_waits_for_its_turn(slow: str):
    """What is asked for late is of its own pass, though the next one has started."""
    events = {2: {"run": 1}, 10: {"start": 1, "before": 8, "more": 16},
              30: {"start": 1, "before": 24, "more": 8}}  # fmt: skip
    events |= {cycle: {"written": 1} for cycle in (90, 91, 92)}
    ready = {"o": always, "o_write": always, slow: lambda cycle: cycle > 60}
    given = play(GrowingWalk(), WALK, events, ready=ready, cycles=140)
    assert [c for _, c in given["o"]] == reads(8) + reads(24)
    assert [c for _, c in given["o_write"]] == writes(8, more=16) + writes(24, more=8)


def test_words_of_a_run_that_was_stopped_are_forgotten():
    """What is offered is still taken, and the next run begins with its own pass."""
    events = {2: {"run": 1}, 10: {"start": 1, "before": 8}, 15: {"run": 0},
              40: {"run": 1}, 50: {"start": 1, "before": 16}}  # fmt: skip
    late = dict.fromkeys(("o", "o_write"), lambda cycle: cycle > 20)
    given = play(GrowingWalk(), WALK, events, ready=late, cycles=100)
    assert [c for _, c in given["o"]][1:] == reads(16)
    assert [c for _, c in given["o_write"]][1:] == writes(16)


def test_passes_of_nothing_take_credits_too():
    """What an empty sequence does not read has been written all the same."""
    events = {3: {"run": 1}, 10: {"start": 1, "before": 0}, 60: {"start": 1, "before": 24}}
    given = play(GrowingWalk(), WALK, events, ready={"o": always, "o_write": always}, cycles=120)
    assert given["o"] == []


def test_credits_are_those_of_the_layers_when_run_rises():
    """Answers between two runs count for nothing; without layers nothing happens."""
    ready = {"o": always, "o_write": always}
    events = {1: {"start": 1}, 2: {"written": 1}, 5: {"layers": 2}, 10: {"run": 1},
              20: {"start": 1, "before": 8}, 40: {"start": 1}}  # fmt: skip
    given = play(GrowingWalk(), WALK, events, ready=ready, cycles=80)
    assert [c for _, c in given["o"]] == reads(8, 2)
    given = play(GrowingWalk(), WALK | {"layers": 0}, events | {5: {}}, ready=ready, cycles=80)
    assert given == {"o": [], "o_write": []}


def test_a_unit_sees_what_there_is_from_the_beginning_of_its_pass():
    """The next pass of a chain starts to read before it begins."""
    dut, seen = GrowingWalk(), dict[int, int]()

    async def bench(ctx):
        ctx.set(dut.run, 1)
        for cycle in range(60):
            ctx.set(dut.positions, {10: 8, 30: 16}.get(cycle, 99))
            ctx.set(dut.start, int(cycle in (10, 30)))
            ctx.set(dut.begin, int(cycle in (10, 50)))
            seen[cycle] = int(ctx.get(dut.there))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert {seen[cycle] for cycle in range(12, 51)} == {8}
    assert seen[52] == 16
