"""Which head of which slot a pass reads and writes, in which order, and what waits for what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.memory.slot_walk import SlotWalk

STRIDE, COUNT = 0x2_1040, 0x123
Command = dict[str, int]


@dataclass
class Given:
    """Transfers of both streams: cycle and command."""

    o: list[tuple[int, Command]] = field(default_factory=list)
    o_write: list[tuple[int, Command]] = field(default_factory=list)

    def commands(self, name: str) -> list[Command]:
        return [command for _, command in getattr(self, name)]

    def cycles(self, name: str) -> list[int]:
        return [cycle for cycle, _ in getattr(self, name)]


def slot(*, used: int = 1, fresh: int = 0, store: int = 1) -> Command:
    return {"used": used, "fresh": fresh, "store": store}


def addresses(tokens: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Two places of each slot's state."""
    found = np.random.default_rng(seed).integers(1, 1 << 34, (2, tokens)) * 64
    return found[0].tolist(), found[1].tolist()


def played(
    dut: SlotWalk,
    step: Callable[[int, Given], Mapping[str, Any]],
    cycles: int,
    *,
    ready: Mapping[str, Callable[[int], bool]] | None = None,
    idle: Callable[[], bool] = bool,
) -> Given:
    """Outputs, when ``step`` says from the cycle and what came before what to set.

    Pulses last for that cycle; the rest stays. No offer may be withdrawn or changed. The run ends
    after some cycles, or a hundred after it is ``idle``.
    """
    given = Given()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.stride, STRIDE)
        ctx.set(dut.count, COUNT)
        offered: dict[str, Any] = {}
        busy = 0  # the last cycle in which it was
        for cycle in range(cycles):
            busy = busy if idle() else cycle
            if cycle > busy + 100:
                return
            for pulse in ("begin", "start", "written"):
                ctx.set(getattr(dut, pulse), 0)
            for name, value in step(cycle, given).items():
                if isinstance(value, list):
                    for port, each in zip(getattr(dut, name, ()), value, strict=False):
                        ctx.set(port, each)
                else:
                    ctx.set(getattr(dut, name), value)
            sampled = []
            for name in ("o", "o_write"):
                stream = getattr(dut, name)
                ctx.set(stream.ready, int(ready is None or ready[name](cycle)))
                sampled += [stream.valid, stream.ready, stream.payload]
            _, _, *values = await ctx.tick().sample(*sampled)
            for n, name in enumerate(("o", "o_write")):
                valid, taken, payload = values[3 * n : 3 * n + 3]
                now = {key: int(payload[key]) for key, _ in payload.shape()} if valid else None
                assert offered.get(name) in (None, now), f"{name}: withdrawn"
                offered[name] = now if not taken else None
                if now is not None and taken:
                    getattr(given, name).append((cycle, now))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return given


def at(events: Mapping[int, Mapping[str, Any]]) -> Callable[[int, Given], Mapping[str, Any]]:
    return lambda cycle, given: events.get(cycle, {})


@dataclass
class Pass:
    """One pass of a plain model: its slots and, of a chain, how many tokens."""

    slots: list[Command]
    base: list[int]
    other: list[int]
    heads: int
    tokens: int = 1
    fresh: int = 0

    def reads(self) -> list[Command]:
        return [
            {"address": place + head * STRIDE, "count": COUNT, "zero": each["fresh"] & fresh}
            for n in range(self.tokens)
            for fresh in [self.fresh if n == 0 else 0]
            for head in range(self.heads)
            for each, place in zip(self.slots, self.other if n % 2 else self.base, strict=True)
            if each["used"]
        ]

    def writes(self) -> list[Command]:
        return [
            {"address": place + head * STRIDE, "count": COUNT}
            for n in range(self.tokens)
            for head in range(self.heads)
            for each, place in zip(self.slots, self.base if n % 2 else self.other, strict=True)
            if each["used"] and each["store"]
        ]

    def settings(self) -> dict[str, Any]:
        return {"slot": self.slots, "base": self.base, "other": self.other, "heads": self.heads}


class Host:
    """Starts passes, the tokens of a chain when all is read, and answers writes, all at random."""

    def __init__(self, passes: Sequence[Pass], seed: int, answers: float) -> None:
        self.rng, self.answers, self.todo = np.random.default_rng(seed), answers, list(passes)
        self.now: Pass | None = None
        self.starts = self.answered = self.reads = self.writes = self.before = 0

    def step(self, cycle: int, given: Given) -> dict[str, Any]:
        found: dict[str, Any] = {"fresh": int(self.rng.integers(2))}
        if cycle == 0:
            return found | {"run": 0}
        if cycle == 1:
            return found | {"run": 1}
        reads, writes = len(given.o) - self.reads, len(given.o_write) - self.writes
        now = self.now
        if now is not None:
            heads = now.heads * sum(each["used"] for each in now.slots)
            assert reads <= self.starts * heads, "read before its start"
            if sum(each["used"] for each in now.slots) == 1:
                assert reads <= heads + self.before, "read before the answer to the last write"
            self.before = self.answered
            if self.answered < writes and self.rng.random() < self.answers:
                found["written"] = 1
                self.answered += 1
            if self.starts < now.tokens and reads == self.starts * heads:
                if self.rng.random() < 0.3:
                    found |= self._start(now)
                return found
            if reads < len(now.reads()) or self.answered < len(now.writes()):
                return found
            self.now = None
            return found
        if self.todo and self.rng.random() < 0.2:
            now = self.now = self.todo.pop(0)
            self.reads, self.writes = len(given.o), len(given.o_write)
            self.starts = self.answered = self.before = 0
            found |= now.settings() | {"begin": 1}
            if self.rng.random() < 0.5:
                found |= self._start(now)
        return found

    def _start(self, now: Pass) -> dict[str, Any]:
        self.starts += 1
        return {"start": 1, "fresh": now.fresh if self.starts == 1 else 0}


@pytest.mark.parametrize(("tokens", "seed"), [
    *((tokens, seed) for tokens in (1, 2, 4) for seed in (0, 2)), (8, 0),
    *(pytest.param(tokens, seed, marks=pytest.mark.slow) for tokens in (1, 2, 4, 8)
      for seed in (1, 3)),
])  # fmt: skip
def test_passes_at_random(tokens: int, seed: int):
    """Chains, several slots, slots that are fresh or do not store, in any order, under stalls."""
    rng = np.random.default_rng([seed, tokens])
    passes = []
    for _ in range(7):
        alone = rng.random() < 0.5
        used = [int(rng.random() < 0.7) for _ in range(tokens)]
        if alone:
            used = [0] * tokens
            used[int(rng.integers(tokens))] = 1
        chain = int(rng.integers(1, 5)) if alone else 1
        slots = [
            slot(used=u, fresh=int(rng.integers(2)), store=int(chain > 1 or rng.integers(2)))
            for u in used
        ]
        if tokens == 1:  # its only slot is a constant
            used, slots = [1], [slot(fresh=1)]
        base, other = addresses(tokens, int(rng.integers(1 << 30)))
        if rng.random() < 0.3:
            other = base
        if any(used):
            heads, fresh = int(rng.integers(1, 6)), int(rng.integers(2))
            passes.append(Pass(slots, base, other, heads, chain, fresh))
    host = Host(passes, seed, float(rng.choice([0.03, 0.2, 1.0])))
    chances = {name: float(rng.choice([0.1, 0.5, 1.0])) for name in ("o", "o_write")}
    stalls = np.random.default_rng(seed + 99)
    ready = {
        name: lambda cycle, chance=chance: bool(stalls.random() < chance)
        for name, chance in chances.items()
    }
    given = played(
        SlotWalk(ArchConfig(tokens=tokens)), host.step, 5000, ready=ready,
        idle=lambda: host.now is None and not host.todo,
    )  # fmt: skip
    assert given.commands("o") == [c for each in passes for c in each.reads()]
    assert given.commands("o_write") == [c for each in passes for c in each.writes()]
    assert host.now is None
    assert not host.todo


def test_two_slots_by_hand():
    """Two heads: A and B of the first, A and B of the second; B writes nothing, A is fresh."""
    slots = [slot(fresh=1), slot(used=0), slot(store=0), slot(used=0)]
    setting: dict[str, Any] = {
        "slot": slots, "base": [0x1000, 0, 0x200_0000, 0], "other": [0x300_0000, 0, 0x900_0000, 0],
        "heads": 2,
    }  # fmt: skip
    begin = {"begin": 1, "start": 1, "fresh": 1}
    events: dict[int, dict[str, Any]] = {1: {"run": 1} | setting, 9: begin}
    given = played(SlotWalk(ArchConfig(tokens=4)), at(events), 60)
    assert [(c["address"], c["zero"]) for c in given.commands("o")] == [
        (0x1000, 1), (0x200_0000, 0), (0x1000 + STRIDE, 1), (0x200_0000 + STRIDE, 0)
    ]  # fmt: skip
    assert [c["address"] for c in given.commands("o_write")] == [0x300_0000, 0x300_0000 + STRIDE]


def simple(tokens: int = 4, used: int = 1, heads: int = 3) -> Pass:
    base, other = addresses(tokens)
    return Pass([slot(used=int(n < used)) for n in range(tokens)], base, other, heads)


@pytest.mark.parametrize("used", [1, 8])
def test_latency_and_interval(used: int):
    """Nothing waits for the answers of several slots, nor the first token of one."""
    dut, each = SlotWalk(ArchConfig(tokens=8)), simple(8, used)
    events = {1: {"run": 1} | each.settings(), 9: {"begin": 1, "start": 1}}
    given = played(dut, at(events), 200)
    for name in ("o", "o_write"):
        first = 9 + dut.latency
        assert given.cycles(name) == [first + n * dut.interval for n in range(3 * used)]


def test_a_chain_waits_for_its_answers():
    """The second token's reads come a cycle behind each answer, but its writes at once."""
    dut, each = SlotWalk(ArchConfig(tokens=4)), simple()
    each.tokens = 3
    answers = (100, 120, 121, 150, 160, 170)
    events: dict[int, dict[str, Any]] = {
        1: {"run": 1} | each.settings(), 9: {"begin": 1, "start": 1}, 60: {"start": 1},
        140: {"start": 1},
    }  # fmt: skip
    for cycle in answers:
        events[cycle] = events.get(cycle, {}) | {"written": 1}
    given = played(dut, at(events), 220)
    assert given.commands("o") == each.reads()
    assert given.commands("o_write") == each.writes()
    second = 121 + dut.interval  # its credit was there before it was asked for
    assert given.cycles("o")[3:] == [101, 121, second, 151, 161, 171]
    assert given.cycles("o_write")[3:6] == [60 + dut.latency + n * dut.interval for n in range(3)]


def test_a_pass_begins_with_all_credits():
    """Passes of one slot that write nothing leave none behind; ``begin`` gives them."""
    each = simple()
    each.slots[0]["store"] = 0
    events: dict[int, dict[str, Any]] = {
        1: {"run": 1} | each.settings(), 9: {"begin": 1, "start": 1}, 50: {"begin": 1},
        58: {"start": 1}, 100: {"begin": 1, "start": 1, "heads": 2},
    }  # fmt: skip
    given = played(SlotWalk(ArchConfig(tokens=4)), at(events), 150)
    assert given.commands("o") == [*each.reads(), *each.reads(), *each.reads()[:2]]
    assert given.commands("o_write") == []


def test_starts_wait_for_the_last_token():
    """As many as may come while the first command waits; none is lost, each takes its copy."""
    dut, each = SlotWalk(ArchConfig(tokens=2)), simple(2)
    each.tokens = 4
    events: dict[int, dict[str, Any]] = {1: {"run": 1} | each.settings(), 9: {"begin": 1}}
    events |= {10 + n: {"start": 1} for n in range(4)}
    events |= {cycle: {"written": 1} for cycle in range(100, 112)}
    late = {"o": lambda cycle: cycle > 60, "o_write": lambda cycle: cycle > 40}
    given = played(dut, at(events), 260, ready=late)
    assert given.commands("o") == each.reads()
    assert given.commands("o_write") == each.writes()


@pytest.mark.parametrize("stop", range(10, 20))
def test_a_walk_stops_with_run(stop: int):
    """An offered command is still given, the rest not; the next run begins with the first head."""
    each, dut = simple(2, used=2), SlotWalk(ArchConfig(tokens=2))
    events: dict[int, dict[str, Any]] = {
        1: {"run": 1} | each.settings(), 9: {"begin": 1, "start": 1}, 10: {"start": 1},
        stop: {"run": 0}, 40: {"run": 1}, 50: {"begin": 1, "start": 1},
    }  # fmt: skip
    events[11] = events.get(11, {}) | {"start": 1}
    late = {"o": lambda cycle: cycle >= stop + 2, "o_write": lambda cycle: cycle >= stop + 2}
    given = played(dut, at(events), 120, ready=late)
    offered = int(stop >= 9 + dut.latency)
    assert given.commands("o") == [*each.reads()[:offered], *each.reads()]
    assert given.commands("o_write") == [*each.writes()[:offered], *each.writes()]


def test_after_a_stop_the_first_copy_and_all_credits():
    """A chain that is cut off leaves nothing to the next, even without a ``begin``."""
    each = simple()
    events: dict[int, dict[str, Any]] = {
        1: {"run": 1} | each.settings(), 9: {"begin": 1, "start": 1}, 50: {"run": 0},
        60: {"run": 1}, 70: {"start": 1}, 110: {"run": 0}, 119: {"start": 1}, 120: {"run": 1},
    }  # fmt: skip
    given = played(SlotWalk(ArchConfig(tokens=4)), at(events), 160)
    assert given.commands("o") == each.reads() * 2
    assert given.commands("o_write") == each.writes() * 2


@pytest.mark.parametrize(("used", "heads"), [(0, 3), (1, 0)])
def test_nothing_to_walk(used: int, heads: int):
    """The start is taken all the same: it does not come back with the next pass."""
    none, some = simple(4, used, heads), simple(4, 2)
    events: dict[int, dict[str, Any]] = {
        1: {"run": 1} | none.settings(), 9: {"begin": 1, "start": 1},
        30: {"begin": 1, "start": 1} | some.settings(),
    }  # fmt: skip
    given = played(SlotWalk(ArchConfig(tokens=4)), at(events), 120)
    assert given.commands("o") == some.reads()
    assert given.commands("o_write") == some.writes()


@pytest.mark.parametrize("heads", [1 << 19, (1 << 20) - 1])
def test_most_heads(heads: int):
    """Credits for as many heads as there may be."""
    each = simple(heads=heads)
    events: dict[int, dict[str, Any]] = {1: {"run": 1} | each.settings(), 9: {"begin": 1}}
    events[20] = {"start": 1}
    given = played(SlotWalk(ArchConfig(tokens=4)), at(events), 40)
    assert len(given.o) == len(given.o_write) > 2
