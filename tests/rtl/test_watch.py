"""The watches of the memory ports, and the search for the one that has a fault."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.machine.faults import Fault
from lightmamba.hardware.rtl.memory.watch import Faults, ReadWatch, WriteWatch

OKAY, EXOKAY, SLVERR, DECERR = range(4)
Beat = tuple[int, int]  # response, last


def simulate(dut: Any, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def watched(
    asked: dict[int, int], beats: dict[int, Beat], cycles: int, clear: tuple[int, ...] = ()
) -> dict[str, list[int]]:
    """Outputs of a watch in each cycle, for bursts asked for, beats and clears by cycle."""
    dut = ReadWatch(600)
    shown: dict[str, list[int]] = {name: [] for name in ("wait", "owing", "fault", "id")}

    async def bench(ctx: Any) -> None:
        for cycle in range(cycles):
            response, last = beats.get(cycle, (DECERR, 1))  # without a beat it says nothing
            ctx.set(dut.asked, cycle in asked)
            ctx.set(dut.length, asked.get(cycle, 6) - 1)
            ctx.set(dut.answered, cycle in beats)
            ctx.set(dut.response, response)
            ctx.set(dut.last, last)
            ctx.set(dut.answered_id, cycle % 64)
            ctx.set(dut.clear, cycle in clear)
            for name, values in shown.items():
                values.append(ctx.get(getattr(dut, name)))
            await ctx.tick()

    simulate(dut, bench)
    return shown


def where(values: list[int]) -> list[int]:
    return [cycle for cycle, value in enumerate(values) if value]


def burst(begin: int, beats: int, *, last: bool = True) -> dict[int, Beat]:
    """Beats of a burst in consecutive cycles."""
    return {begin + n: (OKAY, int(last and n == beats - 1)) for n in range(beats)}


def test_it_waits_while_it_owes_beats():
    """Worked: a burst of two asked for in cycle 1, its beats in cycles 4 and 6."""
    shown = watched({1: 2}, {4: (OKAY, 0), 6: (OKAY, 1)}, 9)
    assert where(shown["wait"]) == [3, 5]
    assert where(shown["owing"]) == [2, 3, 4, 5, 6]
    assert not any(shown["fault"])


def test_the_longest_bursts_are_owed_beat_by_beat():
    """Worked: 512 beats asked for in cycles 0 and 1; 511 come from cycle 4 on, the last in 520."""
    beats = burst(4, 256) | burst(260, 255, last=False) | {520: (OKAY, 1)}
    shown = watched({0: 256, 1: 256}, beats, 530)
    assert where(shown["wait"]) == [2, 3, *range(515, 520)]
    assert not any(shown["fault"])


@pytest.mark.parametrize("length", [1, 2, 5])
def test_answers_in_the_next_cycle_are_no_fault(length: int):
    beats = burst(1, 60, last=False) | {n + length: (OKAY, 1) for n in range(0, 60, length)}
    shown = watched(dict.fromkeys(range(0, 60, length), length), beats, 70)
    assert not any(shown["fault"])
    assert not any(shown["owing"][62:])


@pytest.mark.parametrize(
    ("response", "fault"),
    [(EXOKAY, 0), (SLVERR, Fault.SLVERR), (DECERR, Fault.DECERR)],
)
def test_a_response_shows_in_the_next_cycle_until_it_is_cleared(response: int, fault: int):
    """Worked: the third beat of four, in cycle 7; a second wrong one changes nothing."""
    beats = burst(5, 4) | {7: (response, 0)}
    more = {n + 10: (DECERR if n == 7 else OKAY, last) for n, (_, last) in beats.items()}
    shown = watched({1: 4, 2: 4}, beats | more, 30, clear=(25,))
    begin = 8 if fault else 18
    assert shown["fault"] == [fault or Fault.DECERR if begin <= n <= 25 else 0 for n in range(30)]
    assert shown["id"][begin] == begin - 1


def test_a_burst_that_ends_early_is_found_when_nothing_else_will_come():
    """Worked: four beats of a burst of five, the fourth marked last in cycle 8."""
    assert where(watched({1: 5}, burst(5, 4), 20)["fault"]) == list(range(10, 20))
    assert watched({1: 5}, burst(5, 4), 20)["fault"][-1] == Fault.EARLY_LAST


def test_an_early_burst_among_others_is_found_after_the_last_of_them():
    shown = watched({1: 5, 2: 3, 3: 2}, burst(5, 4) | burst(9, 3) | burst(12, 2), 30)
    assert where(shown["fault"]) == list(range(15, 30))
    assert shown["owing"][29], "a beat never came"


def test_a_burst_without_an_end_is_found_when_its_beats_are_here():
    shown = watched({1: 5}, burst(5, 5, last=False), 20)
    assert where(shown["fault"]) == list(range(11, 20))
    assert shown["fault"][-1] == Fault.NO_LAST
    assert not shown["owing"][19]


def test_a_beat_that_nobody_asked_for_is_a_fault():
    assert watched({}, {3: (OKAY, 1)}, 9)["fault"][-1] == Fault.EARLY_LAST


def test_after_a_clear_counts_begin_anew():
    lost = watched({1: 5, 20: 3}, burst(5, 5, last=False) | burst(24, 3), 40, clear=(15,))
    assert where(lost["fault"]) == list(range(11, 16))


def test_random_traffic_without_a_fault_shows_none():
    rng = np.random.default_rng(4)
    asked, beats, at, free = dict[int, int](), dict[int, Beat](), 0, 0
    while at < 1500:
        at += int(rng.integers(1, 12))
        asked[at] = int(rng.choice([1, 2, 4, 16]))
        free = max(free, at + int(rng.integers(1, 40)))
        for n in range(asked[at]):
            beats[free] = (OKAY, int(n == asked[at] - 1))
            free += int(rng.integers(1, 3))
    shown = watched(asked, beats, free + 4)
    assert not any(shown["fault"])
    assert not shown["owing"][-1]


@pytest.mark.parametrize("response", [OKAY, SLVERR, DECERR])
def test_responses_to_writes(response: int):
    dut, shown = WriteWatch(), list[int]()

    async def bench(ctx: Any) -> None:
        for cycle in range(12):
            ctx.set(dut.answered, cycle in (4, 6))
            ctx.set(dut.answered_id, cycle)
            ctx.set(dut.response, {4: response, 6: OKAY}.get(cycle, DECERR))
            ctx.set(dut.clear, cycle == 9)
            shown.append(ctx.get(dut.fault))
            if response and cycle == 7:
                assert ctx.get(dut.id) == 4
            await ctx.tick()

    simulate(dut, bench)
    fault = {OKAY: 0, SLVERR: Fault.SLVERR, DECERR: Fault.DECERR}[response]
    assert shown == [fault if 5 <= cycle <= 9 else 0 for cycle in range(12)]


@pytest.mark.parametrize("sides", [1, 2, 8, 9, 38])
def test_the_side_with_the_fault_is_found(sides: int):
    """One after the other; of two at the same time, one of them, which then stays."""
    dut = Faults(sides)

    async def bench(ctx: Any) -> None:
        rng = np.random.default_rng(sides)
        pairs = [(n, n) for n in range(sides)]
        pairs += [(n, int(rng.integers(sides))) for n in range(sides)]
        for n, other in pairs:
            for place in {n, other}:
                ctx.set(dut.i_fault[place], Fault.NO_LAST)
                ctx.set(dut.i_id[place], place + 3)
                ctx.set(dut.i_address[place], (place + (1 << 31) << 12) + 5)
            assert ctx.get(dut.pending)
            assert not ctx.get(dut.seen)
            for _ in range(sides + 3):
                await ctx.tick()
                if ctx.get(dut.seen):
                    break
            assert ctx.get(dut.seen)
            found = ctx.get(dut.fault)
            place = found >> 8 & 0xFF
            assert place in (n, other)
            for _ in range(2 * sides):
                assert not ctx.get(dut.pending)
                assert ctx.get(dut.fault) == Fault.NO_LAST | place << 8 | (place + 3) << 16
                assert ctx.get(dut.page) == place + (1 << 31)
                await ctx.tick()
            ctx.set(dut.clear, 1)
            for place in {n, other}:
                ctx.set(dut.i_fault[place], 0)
            await ctx.tick().repeat(4)
            ctx.set(dut.clear, 0)
            await ctx.tick()
            assert not ctx.get(dut.seen)
            assert not ctx.get(dut.fault)

    simulate(dut, bench)
