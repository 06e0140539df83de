"""Requests of each token to memory: their order, and when they come."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory.prefetch import PENDING, LayerWalk, Segments, Walk

Given = tuple[int, dict[str, int]]  # cycle of the transfer, and the command


def play(
    dut: Any,
    hold: Mapping[str, int],
    events: Mapping[int, Mapping[str, int]],
    *,
    ready: Mapping[str, Any],
    cycles: int,
) -> dict[str, list[Given]]:
    """Set inputs at given cycles (pulses and their flags for that cycle only); what comes out.

    ``ready`` says, for each stream, from a cycle whether it is ready.
    """
    given: dict[str, list[Given]] = {name: [] for name in ready}

    async def bench(ctx: Any) -> None:
        for name, value in hold.items():
            ctx.set(getattr(dut, name), value)
        offered: dict[str, Any] = dict.fromkeys(ready)
        for cycle in range(cycles):
            for pulse in ("start", "head", "fresh", "written"):
                if hasattr(dut, pulse):
                    ctx.set(getattr(dut, pulse), 0)
            for name, value in events.get(cycle, {}).items():
                ctx.set(getattr(dut, name), value)
            sampled = []
            for name, ask in ready.items():
                stream = getattr(dut, name)
                ctx.set(stream.ready, int(ask(cycle)))
                sampled += [stream.valid, stream.ready, stream.payload]
            _, _, *values = await ctx.tick().sample(*sampled)
            for n, name in enumerate(ready):
                valid, taken, payload = values[3 * n : 3 * n + 3]
                now = {key: int(payload[key]) for key, _ in payload.shape()} if valid else None
                assert offered[name] in (None, now), f"{name}: withdrawn"
                offered[name] = now if not taken else None
                if now is not None and taken:
                    given[name].append((cycle, now))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return given


def always(cycle: int) -> bool:
    return True


def sometimes(seed: int, chance: float) -> Any:
    rng = np.random.default_rng(seed)
    return lambda cycle: rng.random() < chance


STATIC = {"base": 0xFF_1234_5000, "layers_count": 0x9001, "head_count": 0x77}
LAYERS = {"address": 0xFF_1234_5000, "count": 0x9001, "zero": 0}
HEAD = {"address": 0xFF_1234_5000 + 0x9001 * 32, "count": 0x77, "zero": 0}


@pytest.mark.parametrize("chance", [1.0, 0.1])
def test_segments_are_one_token_ahead(chance: float):
    """The layers at once; then head if wanted, and the next token's layers, for each start."""
    events: dict[int, dict[str, int]] = {5: {"run": 1, "head": 1}}  # no start: no head
    heads = (1, 0, 0, 1, 1, 0)
    events |= {60 * (n + 1): {"start": 1, "head": head} for n, head in enumerate(heads)}
    given = play(Segments(32), STATIC, events, ready={"o": sometimes(2, chance)}, cycles=500)["o"]
    expected = [LAYERS]
    for head in heads:
        expected += [HEAD, LAYERS] if head else [LAYERS]
    assert [c for _, c in given] == expected
    # Nothing before its start.
    counts = [sum(cycle < 60 * (n + 1) for cycle, _ in given) for n in range(len(heads))]
    assert counts == [1, 3, 4, 5, 7, 9]


def test_segments_latency():
    dut = Segments(32)
    given = play(dut, STATIC, {4: {"run": 1}, 9: {"start": 1, "head": 1}}, ready={"o": always},
                 cycles=30)["o"]  # fmt: skip
    assert [cycle for cycle, _ in given] == [
        4 + dut.latency, 9 + dut.latency, 9 + dut.latency + dut.interval
    ]  # fmt: skip


def test_starts_wait_when_the_reader_is_behind():
    """The first start right at the rise; as many wait as may, in their order."""
    events: dict[int, dict[str, int]] = {4: {"run": 1}}
    events |= {5 + n: {"start": 1, "head": n % 2} for n in range(PENDING)}
    given = play(Segments(32), STATIC, events, ready={"o": lambda c: c > 50}, cycles=100)["o"]
    assert [c for _, c in given] == [LAYERS, LAYERS, HEAD, LAYERS, LAYERS, HEAD, LAYERS]


def test_a_start_in_the_cycle_in_which_run_rises_counts_once():
    events = {4: {"run": 1, "start": 1, "head": 1}}
    given = play(Segments(32), STATIC, events, ready={"o": always}, cycles=40)["o"]
    assert [c for _, c in given] == [HEAD, LAYERS]


@pytest.mark.parametrize("stop", range(10, 18))
def test_segments_stop_with_run(stop: int):
    """At any cycle: at most what is offered is still given; later it begins anew."""
    events: dict[int, dict[str, int]] = {
        2: {"run": 1}, 8: {"start": 1, "head": 1}, 9: {"start": 1}, stop: {"run": 0},
    }  # fmt: skip
    events[30] = {"start": 1}
    events[40] = {"run": 1, "base": 0x5000}
    given = play(Segments(32), STATIC, events, ready={"o": lambda c: c >= stop + 2}, cycles=80)["o"]
    assert [c for _, c in given] == [LAYERS, LAYERS | {"address": 0x5000}]


def test_segments_stop_behind_a_head():
    """A head that is offered when run falls is still given, but no layers behind it."""
    events: dict[int, dict[str, int]] = {2: {"run": 1}, 8: {"start": 1, "head": 1}, 13: {"run": 0}}
    given = play(Segments(32), STATIC, events, ready={"o": lambda c: c < 8 or c > 15}, cycles=40)
    assert [c for _, c in given["o"]] == [LAYERS, HEAD]


def test_a_start_before_run_does_not_count():
    events: dict[int, dict[str, int]] = {7: {"start": 1, "head": 1}, 8: {"run": 1}}
    given = play(Segments(32), STATIC, events, ready={"o": always}, cycles=40)
    assert [c for _, c in given["o"]] == [LAYERS]


BASE = 0xFF_0000_4000
WALK = {"layers": 3, "base": BASE, "stride": 0x80_3000, "count": 0x1234}


def layer(n: int, zero: int | None = None) -> dict[str, int]:
    command = {"address": BASE + n * 0x80_3000, "count": 0x1234}
    return command if zero is None else command | {"zero": zero}


def test_reads_wait_for_the_writes_of_the_same_layer():
    """The first token has all credits, the second takes one with each answer."""
    answers = (100, 101, 130)
    events: dict[int, dict[str, int]] = {
        3: {"run": 1}, 10: {"start": 1, "fresh": 1}, 50: {"start": 1, "fresh": 0},
    }  # fmt: skip
    events |= {cycle: {"written": 1} for cycle in answers}
    dut = LayerWalk()
    given = play(dut, WALK, events, ready={"o": always, "o_write": always}, cycles=200)
    assert [c for _, c in given["o"]] == [layer(n, 1) for n in range(3)] + [
        layer(n, 0) for n in range(3)
    ]
    assert [c for _, c in given["o_write"]] == [layer(n) for n in range(3)] * 2
    first = 10 + dut.latency
    assert [cycle for cycle, _ in given["o"]] == [
        first, first + dut.interval, first + 2 * dut.interval, *(cycle + 1 for cycle in answers)
    ]  # fmt: skip
    assert [cycle for cycle, _ in given["o_write"][3:]] == [50 + dut.latency + n for n in range(3)]


@pytest.mark.parametrize("seed", range(4))
def test_random_walk_keeps_its_credits(seed: int):
    """Writes lag behind; tokens start when all is read. Never more reads than credits."""
    rng = np.random.default_rng(seed)
    layers, tokens, cycles = int(rng.integers(1, 5)), 6, 700
    fresh = [int(f) for f in rng.integers(0, 2, tokens)]
    dut = LayerWalk()
    reads: list[tuple[int, int, int]] = []
    writes: list[int] = []
    answered = 0

    async def bench(ctx: Any) -> None:
        nonlocal answered
        for name, value in (WALK | {"layers": layers}).items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        ctx.set(dut.run, 1)
        begun = 0
        for _ in range(cycles):
            starts = begun < tokens and len(reads) == begun * layers and rng.random() < 0.3
            ctx.set(dut.start, int(starts))
            ctx.set(dut.fresh, fresh[begun] if starts else int(rng.integers(2)))
            begun += starts
            answers = answered < len(writes) and rng.random() < 0.08
            ctx.set(dut.written, int(answers))
            ctx.set(dut.o.ready, int(rng.random() < 0.5))
            ctx.set(dut.o_write.ready, int(rng.random() < 0.15))
            r, w = dut.o, dut.o_write
            _, _, *v = await ctx.tick().sample(
                r.valid & r.ready, r.payload.address, r.payload.zero,
                w.valid & w.ready, w.payload.address,
            )  # fmt: skip
            if v[0]:
                assert len(reads) < layers + answered
                reads.append((int(v[1]), int(v[2]), begun))
            answered += answers
            if v[3]:
                writes.append(int(v[4]))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    addresses = [layer(n)["address"] for n in range(layers)]
    assert [(a, z) for a, z, _ in reads] == [
        (a, fresh[t]) for t in range(tokens) for a in addresses
    ]
    assert [begun for *_, begun in reads] == [t + 1 for t in range(tokens) for _ in addresses]
    assert writes == addresses * tokens


def test_credits_are_those_of_the_layers_when_run_rises():
    """Without a start nothing happens; answers between two runs count for nothing."""
    ready = {"o": always, "o_write": always}
    events: dict[int, dict[str, int]] = {
        1: {"start": 1}, 2: {"written": 1}, 3: {"written": 1}, 5: {"layers": 2}, 10: {"run": 1},
        20: {"start": 1}, 40: {"start": 1},
    }  # fmt: skip
    given = play(LayerWalk(), WALK, events, ready=ready, cycles=80)
    assert [c for _, c in given["o"]] == [layer(0, 0), layer(1, 0)]
    assert len(given["o_write"]) == 4


@pytest.mark.parametrize("stop", [12, 13, 14])
def test_a_walk_stops_with_run(stop: int):
    """An offered command is still given, the rest not; the next run begins at the first layer."""
    events: dict[int, dict[str, int]] = {
        2: {"run": 1}, 10: {"start": 1}, 11: {"start": 1}, stop: {"run": 0},
        40: {"run": 1}, 50: {"start": 1, "fresh": 1},
    }  # fmt: skip
    late = {"o": lambda c: c >= stop + 2, "o_write": lambda c: c >= stop + 2}
    given = play(LayerWalk(), WALK, events, ready=late, cycles=100)
    assert [c for _, c in given["o"]] == [layer(0, 0)] + [layer(n, 1) for n in range(3)]
    assert [c for _, c in given["o_write"]] == [layer(0)] + [layer(n) for n in range(3)]


def test_no_layers_no_commands():
    events: dict[int, dict[str, int]] = {2: {"run": 1}, 10: {"start": 1}}
    given = play(LayerWalk(), WALK | {"layers": 0}, events, cycles=60,
                 ready={"o": always, "o_write": always})  # fmt: skip
    assert given == {"o": [], "o_write": []}


@pytest.mark.parametrize("cut", [False, True])
def test_a_walk_alone(cut: bool):
    """The record of a pass is read and written by one stream, when it is allowed."""
    dut, late = Walk(), 12 + Walk.latency
    hold = {name: WALK[name] for name in ("layers", "base", "stride")}
    events: dict[int, dict[str, int]] = {
        3: {"run": 1}, 10: {"start": 1, "fresh": 1}, late + 10: {"allowed": 1}, 40: {"start": 1},
    }  # fmt: skip
    if cut:  # nothing was offered yet, so nothing comes
        events[late] = {"run": 0}
        events[late + 5] = {"run": 1}
    given = play(dut, hold, events, ready={"o": always}, cycles=80)["o"]
    assert [c for _, c in given] == [
        layer(n, zero) | {"count": 0} for zero in ((1, 0) if not cut else (0,)) for n in range(3)
    ]
    assert [cycle for cycle, _ in given[-3:]] == [40 + dut.latency + n for n in range(3)]
