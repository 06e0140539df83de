"""Runs of weights that all lanes read: fixed ones, and blocks as they are chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.layouts import payload
from lightmamba.hardware.rtl.memory.prefetch import PENDING
from lightmamba.hardware.rtl.memory.runs import Runs

CHOICE = payload("CHOICE", ArchConfig(kinds=("experts",), added_channels=128))
HEAD = 0x777  # beats
Asked = tuple[int, int]  # offset and count of a run


@dataclass
class Layer:
    """A layer of blocks: beats of a block's first part and of both, blocks, beats behind them."""

    first: int
    whole: int
    blocks: int
    then: int

    def choices(self, chosen: list[int], ends: bool) -> list[dict[str, int]]:
        """The choice of some blocks, as it comes."""
        place = {"first": self.first, "whole": self.whole, "every": self.whole * self.blocks}
        place |= {"then": self.then, "ends": int(ends)}
        return [
            {"block": block, "last": int(n == len(chosen)), **place}
            for n, block in enumerate(chosen, 1)
        ]


@dataclass
class Model:
    """Fixed beats before the first blocks, and layers of blocks."""

    fixed: int
    layers: list[Layer] = field(default_factory=list)

    def asked(self, token: "Token") -> list[Asked]:
        """Runs of a token behind the first fixed one."""
        found, at = list[Asked](), self.fixed
        for layer, ids in zip(self.layers, token.chosen, strict=True):
            places = [at + layer.whole * block for block in ids]
            firsts = [(place, layer.first) for place in places]
            seconds = [(place + layer.first, layer.whole - layer.first) for place in places]
            at += layer.whole * layer.blocks
            found.append(firsts[0])
            for first, second in zip(firsts[1:], seconds, strict=False):
                found += [first, second]
            found += [seconds[-1], *([(at, layer.then)] if layer.then else [])]
            at += layer.then
        return found + [(at, HEAD)] * token.head

    def whole(self, tokens: list["Token"]) -> list[Asked]:
        """All runs, that ahead of a token that does not come included."""
        found = [(0, self.fixed)]
        for token in tokens:
            found += [*self.asked(token), (0, self.fixed)]
        return found


@dataclass
class Token:
    """Blocks that are chosen, layer by layer, and whether the head is wanted."""

    chosen: list[list[int]] = field(default_factory=list)
    head: int = 1


@dataclass
class Player:
    """Plays the sequencer, the unit that chooses, and the readers.

    Parameters
    ----------
    tokens
        Each starts when all runs of the one before, and one more, are taken; then its choices come.
    events : {cycle: {input: value}}
        What else is set; ``start`` and ``head`` are pulses.
    offers, takes : chance
        That a choice is offered, and a run taken.
    idle : cycles
        In which no run is taken.
    """

    model: Model
    tokens: list[Token]
    events: Mapping[int, Mapping[str, int]]
    offers: float = 1.0
    takes: float = 1.0
    idle: range = range(0)
    cycles: int = 100
    seed: int = 0
    asked: list[Asked] = field(default_factory=list)
    when: list[int] = field(default_factory=list)  # cycles in which runs were taken
    chosen: list[int] = field(default_factory=list)  # and choices
    offered: list[int] = field(default_factory=list)  # in which those began to wait
    starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng, self.waits = np.random.default_rng(self.seed), False
        self.due = [len(self.model.whole(self.tokens[:n])) for n in range(len(self.tokens))]
        self.left = list[dict[str, int]]()  # choices of the token that runs

    def starts_now(self, cycle: int) -> bool:
        """Whether the next token may start."""
        return len(self.asked) >= self.due[len(self.starts)]

    def inputs(self, cycle: int) -> dict[str, int]:
        """Inputs that are set in a cycle."""
        found = {"start": 0, "head": int(self.rng.integers(2))} | dict(self.events.get(cycle, {}))
        more = len(self.starts) < len(self.tokens) and not self.left
        if more and self.starts_now(cycle):
            layers, token = self.model.layers, self.tokens[len(self.starts)]
            for layer, ids in zip(layers, token.chosen, strict=True):
                self.left += layer.choices(ids, layer is layers[-1])
            self.starts.append(cycle)
            found |= {"start": 1, "head": token.head}
        elif not self.waits and self.left and self.rng.random() < self.offers:
            self.waits = True
            self.offered.append(cycle)
        return found

    def run(self) -> "Player":
        dut, rng = Runs(CHOICE), self.rng
        simulator = Simulator(dut)
        simulator.add_clock(1e-6)

        @simulator.add_testbench
        async def bench(ctx: Any) -> None:
            before, o = None, dut.o
            for name, value in (
                ("layers_count", self.model.fixed), ("head_count", HEAD),
                ("chooses", int(bool(self.model.layers))),
            ):  # fmt: skip
                ctx.set(getattr(dut, name), value)
            for cycle in range(self.cycles):
                for name, value in self.inputs(cycle).items():
                    ctx.set(getattr(dut, name), value)
                if self.waits:
                    ctx.set(dut.i.payload, self.left[0])
                ctx.set(dut.i.valid, int(self.waits))
                ctx.set(o.ready, int(cycle not in self.idle and rng.random() < self.takes))
                _, _, gone, valid, taken, offset, count = await ctx.tick().sample(
                    dut.i.ready, o.valid, o.ready, o.payload.offset, o.payload.count
                )
                now = (int(offset), int(count)) if valid else None
                assert before in (None, now), "a run was withdrawn"
                before = now if not taken else None
                if now is not None and taken:
                    self.asked.append(now)
                    self.when.append(cycle)
                if self.waits and gone:
                    self.waits = False
                    self.left.pop(0)
                    self.chosen.append(cycle)

        simulator.run()
        assert len(self.starts) == len(self.tokens)
        assert not self.left, f"{len(self.left)} choices were not taken"
        return self


def chosen(rng: np.random.Generator, layer: Layer) -> list[int]:
    """Some blocks, as a unit chooses them: the last ones, of every token, then others."""
    taken = int(rng.integers(1, min(6, layer.blocks), endpoint=True))
    always = int(rng.integers(1, taken, endpoint=True))
    others = layer.blocks - always
    found: list[int] = rng.permutation(others)[: taken - always].tolist()
    return [*range(others, layer.blocks)[:always], *found]


@pytest.mark.parametrize("seed", range(6))
def test_random_models(seed):
    """Layers of any sizes, or none; with and without a head; slow choices and slow readers."""
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range((1, 0, 2, 3, 4, 2)[seed]):
        first, second, then = rng.integers(1, 1 << 16, 3).tolist()
        blocks = int(rng.choice([1, 3, 12, 271]))
        layers.append(Layer(first, first + second, blocks, int(rng.choice([0, then]))))
    model = Model(int(rng.integers(1, 1 << 20)), layers)
    tokens = [
        Token([chosen(rng, layer) for layer in layers], int(rng.integers(2))) for _ in range(4)
    ]
    offers, takes = rng.choice([1.0, 0.3, 0.1], 2).tolist()
    got = Player(
        model, tokens, {3: {"run": 1}}, offers=offers, takes=takes, seed=seed, cycles=2500
    ).run()
    assert got.asked == model.whole(tokens)


ONE = Model(1000, [Layer(10, 15, 8, 400)])


def test_worked_order():
    """First parts are a block ahead of second ones; behind them the rest, and the head."""
    got = Player(ONE, [Token([[7, 0, 3]])], {3: {"run": 1}}).run()
    assert got.asked == [
        (0, 1000), (1105, 10), (1000, 10), (1115, 5), (1045, 10), (1010, 5), (1055, 5),
        (1120, 400), (1520, HEAD), (0, 1000),
    ]  # fmt: skip


def test_latency_and_interval():
    """Choices that wait are taken one in ``interval`` cycles, for two runs in a row."""
    got = Player(ONE, [Token([[1, 2, 3, 4]])], {3: {"run": 1}}).run()
    first = got.offered[0] + Runs.latency
    later = [first + n * Runs.interval + more for n in (1, 2, 3) for more in (0, 1)]
    assert got.when[:8] == [4, first, *later]
    assert np.diff(got.chosen[:-1]).tolist() == [Runs.interval] * 2
    assert got.when[8:] == [later[-1] + n for n in (1, 2, 4, 6)]


def test_a_run_follows_its_choice_alone():
    """Each as soon as it comes, the first part without the second of its own block."""
    got = Player(ONE, [Token([[1, 5, 3]])], {2: {"run": 1}}, offers=0.05, cycles=400).run()
    assert [got.when[n] for n in (1, 2, 4)] == [cycle + Runs.latency for cycle in got.offered]


def test_nothing_behind_blocks_is_asked_for_before_they_are_chosen():
    events: dict[int, dict[str, int]] = {2: {"run": 1}, 20: {"start": 1, "head": 1}}
    assert Player(ONE, [], events).run().asked == [(0, 1000)]


NONE = Model(0x9001)
FIXED, AHEAD = (0, 0x9001), (0x9001, HEAD)


@pytest.mark.parametrize("takes", [1.0, 0.1])
def test_without_choices_it_is_one_token_ahead(takes):
    heads = (1, 0, 0, 1, 1, 0)
    got = Player(
        NONE, [Token(head=head) for head in heads], {5: {"run": 1}}, takes=takes, cycles=500
    ).run()
    assert got.asked == [FIXED, *(run for h in heads for run in ([AHEAD, FIXED] if h else [FIXED]))]
    assert sum(cycle < got.starts[0] for cycle in got.when) == 1


def test_starts_wait_when_the_readers_are_behind():
    """The first one right at the rise; as many as may, in their order."""
    events: dict[int, dict[str, int]] = {4: {"run": 1}}
    events |= {5 + n: {"start": 1, "head": n % 2} for n in range(PENDING)}
    got = Player(NONE, [], events, idle=range(50)).run()
    assert got.asked == [FIXED, FIXED, AHEAD, FIXED, FIXED, AHEAD, FIXED]


@pytest.mark.parametrize(("cycle", "found"), [(3, [FIXED]), (4, [FIXED, AHEAD, FIXED])])
def test_a_start_counts_from_the_rise_of_run_on(cycle, found):
    """The rise is in cycle 4."""
    events: dict[int, dict[str, int]] = {4: {"run": 1}}
    events[cycle] = events.get(cycle, {}) | {"start": 1, "head": 1}
    assert Player(NONE, [], events, cycles=40).run().asked == found


STOPS = pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])


@STOPS
@pytest.mark.parametrize("stop", range(9, 19))
def test_without_choices_it_stops_with_run(stop, waits):
    """A stop at any cycle: only a run that was offered may still leave; the next starts over."""
    events: dict[int, dict[str, int]] = {
        2: {"run": 1}, 8: {"start": 1, "head": 1}, 9: {"start": 1, "head": 0}, stop: {"run": 0},
        30: {"start": 1, "head": 1}, 50: {"run": 1, "layers_count": 3},
    }  # fmt: skip
    got = Player(NONE, [], events, idle=range(stop, stop + 3 * waits)).run()
    *before, last = got.asked
    assert before == [FIXED, AHEAD, FIXED, FIXED][: len(before)]
    assert len(before) - sum(cycle < stop for cycle in got.when) <= 1
    assert last == (0, 3)


class Cut(Player):
    """Plays a second token that does not follow the first one at once."""

    def starts_now(self, cycle: int) -> bool:
        return cycle >= 60 if self.starts else super().starts_now(cycle)


@STOPS
@pytest.mark.parametrize("after", range(9))
def test_it_begins_anew_when_run_falls_between_tokens(after, waits):
    """From the end of the last choice on; then other blocks come, of another model."""
    one, two = Token([[2, 6]]), Token([[5, 0, 1]], head=0)
    stop = Player(ONE, [one], {2: {"run": 1}}).run().chosen[-1] + 1 + after
    events: dict[int, dict[str, int]] = {
        2: {"run": 1}, stop: {"run": 0}, 50: {"run": 1, "layers_count": 77}
    }  # fmt: skip
    got = Cut(ONE, [one, two], events, idle=range(stop, stop + 3 * waits)).run()
    then = Model(77, ONE.layers).whole([two])
    before = got.asked[: -len(then)]
    assert got.asked[-len(then) :] == then
    assert before == ONE.whole([one])[: len(before)]
    assert len(before) - sum(cycle < stop for cycle in got.when) <= 1
