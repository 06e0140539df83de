"""The sequencer against the program that it walks."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import encode
from lightmamba.hardware.machine.program import Condition, Instruction, Op
from lightmamba.hardware.rtl.sequencer import Sequencer
from tests.support.machine import COMMANDS, OPERATIONS, words32

CONFIG = ArchConfig(program=8)
OPS = (Op.EMBED, Op.IN, Op.OUT, Op.IN, Op.LAST_OUT, Op.HEAD, Op.END)
TOKEN = {"token": 7, "position": 40, "fresh": 1}
LIMIT = 5000  # cycles


def random_commands(rng: np.random.Generator, op: Op) -> dict[str, dict[str, int]]:
    return {
        unit: {f.name: int(rng.integers(f.min, f.max, endpoint=True)) for f in COMMANDS[unit]}
        for unit in OPERATIONS[op]
    }


def program(seed: int, ops: Collection[Op] = OPS) -> list[Instruction]:
    rng, when = (
        np.random.default_rng(seed),
        {Op.LAST_OUT: Condition.NO_HEAD, Op.HEAD: Condition.HEAD},
    )
    return [Instruction(op, random_commands(rng, op), when.get(op, Condition.ALWAYS)) for op in ops]


@dataclass
class Seen:
    """Events between a start and its end."""

    commands: dict[str, list[int]]
    begun: list[dict[str, int]] = field(default_factory=list)  # what ``begin`` said of each token
    dispatched: list[tuple[int, int]] = field(default_factory=list)  # cycle and opcode
    states: list[tuple[int, int]] = field(default_factory=list)  # cycle and ``state_fresh``
    starts: list[int] = field(default_factory=list)  # cycles of ``begin``
    cycles: int = 0
    finished: int = 0
    illegal: int = 0


class Host:
    """Starts tokens and plays the units.

    Parameters
    ----------
    config : ArchConfig
    stalls : float
        Chance that a unit takes no command in a cycle.
    work : int
        Cycles for which a unit is busy with a command.
    slow : {unit: cycle}
        Units that take nothing before that cycle of a start.
    pending : int
        Cycle of a start until which writes are not answered.
    """

    def __init__(
        self, *, stalls: float = 0.0, work: int = 0, slow: dict[str, int] | None = None,
        pending: int = 0, config: ArchConfig = CONFIG,
    ) -> None:  # fmt: skip
        self.dut, self.rng = Sequencer(config), np.random.default_rng(5)
        self.stalls, self.work, self.slow, self.pending = stalls, work, slow or {}, pending
        self.ports = {unit: getattr(self.dut, f"command_{unit}") for unit in self.dut.coded.units}

    async def write(self, ctx: Any, words: list[int]) -> None:
        """Write a program; what stands at the inputs afterwards is not part of it."""
        ctx.set(self.dut.program_write, 1)
        for index, word in enumerate(words):
            ctx.set(self.dut.program_index, index)
            ctx.set(self.dut.program_data, word)
            await ctx.tick()
        ctx.set(self.dut.program_write, 0)
        ctx.set(self.dut.program_index, 1)
        ctx.set(self.dut.program_data, 0xDEADBEEF)

    async def start(self, ctx: Any, *, head: int, chain: int) -> Seen:
        """Run one start until it is done."""
        dut, seen, left = self.dut, Seen({unit: [] for unit in self.ports}), 0
        fields = {**TOKEN, "head": head, "chain": chain}
        assert not ctx.get(dut.busy)
        for name, value in {**fields, "next": 9, "start": 1}.items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        for name, value in fields.items():  # they count in the cycle of the start only
            ctx.set(getattr(dut, name), 1 - value if value < 2 else value + 5)
        ctx.set(dut.start, 0)
        for cycle in range(LIMIT):
            assert ctx.get(dut.busy)
            for unit, port in self.ports.items():
                able = self.rng.random() >= self.stalls and cycle >= self.slow.get(unit, 0)
                ctx.set(port.ready, int(able))
            ctx.set(dut.memory_pending, int(cycle < self.pending))
            if ctx.get(dut.begin):
                flags = (*TOKEN, "head")
                seen.starts.append(cycle)
                seen.begun.append({n: ctx.get(getattr(dut, f"begin_{n}")) for n in flags})
            if ctx.get(dut.dispatch):
                seen.dispatched.append((cycle, ctx.get(dut.op)))
            if ctx.get(dut.state):
                seen.states.append((cycle, ctx.get(dut.state_fresh)))
            waits = False
            for unit, port in self.ports.items():
                waits |= bool(ctx.get(port.valid))
                if ctx.get(port.valid) and ctx.get(port.ready):
                    seen.commands[unit].append(ctx.get(Value.cast(port.payload)))
                    left = self.work
            done = ctx.get(dut.done)
            if done:
                unwritten = cycle < self.pending and not ctx.get(dut.illegal)
                early = left or waits or unwritten
                assert not early, "done too early"
            left, works = left - (left > 0), left > 0 or waits
            await ctx.tick()
            ctx.set(dut.units_busy, int(works))  # a cycle late, as the units say it
            if done:
                assert not ctx.get(dut.busy)
                seen.cycles, seen.finished = cycle, ctx.get(dut.finished)
                seen.illegal = ctx.get(dut.illegal)
                return seen
        raise AssertionError("never done")


def run(
    *programs: list[int], head: int, chain: int = 0, starts: int = 1, **host: Any
) -> list[Seen]:
    """Write programs one after another, and start each ``starts`` times."""
    player, found = Host(**host), list[Seen]()

    async def bench(ctx: Any) -> None:
        for words in programs:
            await player.write(ctx, words)
            for _ in range(starts):
                found.append(await player.start(ctx, head=head, chain=chain))

    simulator = Simulator(player.dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def carried_out(instructions: list[Instruction], head: bool) -> list[Instruction]:
    skipped = Condition.NO_HEAD if head else Condition.HEAD
    return [instruction for instruction in instructions if instruction.when != skipped]


def expected(instructions: list[Instruction], head: bool) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {unit: [] for unit in COMMANDS}
    for instruction in carried_out(instructions, head):
        for unit, values in instruction.commands.items():
            found[unit].append(encode(COMMANDS[unit], values))
    return found


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_every_unit_gets_its_commands_in_order(head, stalls):
    instructions = program(int(head))
    (seen,) = run(words32(instructions), head=int(head), stalls=stalls, work=30)
    assert seen.commands == expected(instructions, head)
    assert seen.begun == [{**TOKEN, "head": int(head)}]
    ops = [instruction.op for instruction in carried_out(instructions, head)]
    assert [op for _, op in seen.dispatched] == ops[:-1]  # END starts nobody
    assert (seen.finished, seen.illegal) == (1, 0)


@pytest.mark.parametrize(("unit", "before"), [("lanes", 3), ("residual", 4), ("ssm", 5)])
def test_a_full_queue_holds_the_program(unit, before):
    """Worked: two commands wait before a unit; the instruction with the third one waits too."""
    ops = (Op.EMBED, Op.IN, Op.OUT, Op.IN, Op.OUT, Op.IN, Op.OUT, Op.END)
    instructions = program(6, ops)
    (seen,) = run(words32(instructions), head=1, slow={unit: 500})
    assert seen.commands == expected(instructions, True)
    assert [op for _, op in seen.dispatched] == list(ops[:-1])
    assert sum(cycle < 500 for cycle, _ in seen.dispatched) == before


def test_a_chain_feeds_the_arg_max_back():
    instructions = program(2)
    (seen,) = run(words32(instructions), head=1, chain=2)
    once = expected(instructions, True)
    assert seen.commands == {unit: 3 * commands for unit, commands in once.items()}
    assert [b["token"] for b in seen.begun] == [7, 9, 9]
    assert [b["position"] for b in seen.begun] == [40, 41, 42]
    assert [b["fresh"] for b in seen.begun] == [1, 0, 0]
    assert [b["head"] for b in seen.begun] == [1, 1, 1]
    assert seen.finished == 3


def test_a_chain_asks_for_the_next_state_with_the_head():
    """Once for each token: the first with its beginning, the others with the head before them."""
    (seen,) = run(words32(program(2)), head=1, chain=2, work=25)
    heads = [cycle for cycle, op in seen.dispatched if op == Op.HEAD]
    assert seen.states == [(seen.starts[0], 1), (heads[0], 0), (heads[1], 0)]
    assert heads[0] < seen.starts[1] < heads[1] < seen.starts[2]


def test_without_a_head_in_the_program_every_token_asks_at_its_beginning():
    (seen,) = run(words32(program(9, (Op.EMBED, Op.IN, Op.OUT, Op.END))), head=1, chain=2)
    assert seen.states == [(seen.starts[0], 1), (seen.starts[1], 0), (seen.starts[2], 0)]


def test_a_start_asks_for_its_state_whatever_was_before():
    """Also after a chain that an unknown opcode ended behind its head."""
    ops = (Op.EMBED, Op.HEAD)
    words = [*words32(program(2, ops)), 15, *[0] * 18]
    first, second = run(words, head=1, chain=1, starts=2)
    assert first.illegal
    assert len(first.states) == 2
    assert second.states[0] == (second.starts[0], 1)


def test_a_second_start_begins_anew():
    instructions = program(7)
    first, second = run(words32(instructions), head=1, chain=1, starts=2, work=9)
    assert first.commands == second.commands
    assert first.begun == second.begun
    assert first.states == second.states
    assert (first.finished, second.finished) == (2, 2)


def test_without_a_head_a_chain_ends():
    (seen,) = run(words32(program(3)), head=0, chain=2)
    assert len(seen.begun) == 1


def test_done_waits_for_writes():
    (seen,) = run(words32(program(8)), head=1, pending=700)
    assert 700 <= seen.cycles <= 701


@pytest.mark.parametrize("op", [max(Op) + 1, 15])
def test_an_unknown_opcode_ends_the_token_and_says_so(op):
    """It does not wait for writes: what it left out may never be written."""
    (seen,) = run([op, *[0] * 18], head=1, chain=2, pending=LIMIT)
    assert seen.illegal
    assert len(seen.begun) == seen.finished == 1
    assert not seen.dispatched


def test_fetch_takes_twenty_one_cycles_an_instruction():
    """Worked: seven instructions of 21 cycles and a few at both ends, when no unit waits."""
    (seen,) = run(words32(program(4)), head=0)
    assert 7 * 21 <= seen.cycles <= 7 * 22 + 10
