"""The sequencer against the program that it walks."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import encode
from lightmamba.arch.program import COMMANDS, OPERATIONS, Condition, Instruction, Op, words32
from lightmamba.rtl.sequencer import Sequencer

CONFIG = ArchConfig(program=8)


def random_commands(rng: np.random.Generator, op: Op) -> dict[str, dict[str, int]]:
    return {
        unit: {f.name: int(rng.integers(f.min, f.max, endpoint=True)) for f in COMMANDS[unit]}
        for unit in OPERATIONS[op]
    }


def program(rng: np.random.Generator) -> list[Instruction]:
    when = {Op.LAST_OUT: Condition.NO_HEAD, Op.HEAD: Condition.HEAD}
    ops = (Op.EMBED, Op.IN, Op.OUT, Op.IN, Op.LAST_OUT, Op.HEAD, Op.END)
    return [Instruction(op, random_commands(rng, op), when.get(op, Condition.ALWAYS)) for op in ops]


def run(
    instructions: list[int], *, head: int, stalls: float = 0.0, chain: int = 0, work: int = 0
) -> tuple[dict[str, list[int]], list[dict[str, int]], int, Any]:
    """Commands by unit, what ``begin`` said of each token, cycles until done, illegal."""
    dut, rng = Sequencer(CONFIG), np.random.default_rng(5)
    seen: dict[str, list[int]] = {unit: [] for unit in COMMANDS}
    begun: list[dict[str, int]] = []
    length, illegal = 0, 0

    async def bench(ctx: Any) -> None:
        nonlocal length, illegal
        ctx.set(dut.program_write, 1)
        for index, word in enumerate(instructions):
            ctx.set(dut.program_index, index)
            ctx.set(dut.program_data, word)
            await ctx.tick()
        ctx.set(dut.program_write, 0)
        ctx.set(dut.start, 1)
        ctx.set(dut.fresh, 1)
        ctx.set(dut.head, head)
        ctx.set(dut.token, 7)
        ctx.set(dut.position, 40)
        ctx.set(dut.chain, chain)
        ctx.set(dut.next, 9)
        await ctx.tick()
        ctx.set(dut.start, 0)
        busy = 0
        while length < 5000:
            for unit in COMMANDS:
                ctx.set(getattr(dut, f"command_{unit}").ready, int(rng.random() >= stalls))
            ctx.set(dut.units_busy, int(busy > 0))
            if ctx.get(dut.begin):
                names = ("token", "position", "fresh", "head")
                begun.append({n: ctx.get(getattr(dut, f"begin_{n}")) for n in names})
            for unit, commands in seen.items():
                port = getattr(dut, f"command_{unit}")
                if ctx.get(port.valid) and ctx.get(port.ready):
                    commands.append(ctx.get(Value.cast(port.payload)))
                    busy = work
            busy -= busy > 0
            if ctx.get(dut.done):
                illegal = ctx.get(dut.illegal)
                assert ctx.get(dut.finished) == chain * bool(head)
                assert busy == 0
                return
            await ctx.tick()
            length += 1
        raise AssertionError("never done")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen, begun, length, illegal


def expected(instructions: list[Instruction], head: bool) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {unit: [] for unit in COMMANDS}
    for instruction in instructions:
        if instruction.when == (Condition.NO_HEAD if head else Condition.HEAD):
            continue
        for unit, values in instruction.commands.items():
            found[unit].append(encode(COMMANDS[unit], values))
    return found


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_every_unit_gets_its_commands_in_order(head, stalls):
    instructions = program(np.random.default_rng(int(head)))
    seen, begun, _, illegal = run(words32(instructions), head=head, stalls=stalls, work=30)
    assert seen == expected(instructions, head)
    assert begun == [{"token": 7, "position": 40, "fresh": 1, "head": int(head)}]
    assert not illegal


def test_a_chain_feeds_the_arg_max_back():
    instructions = program(np.random.default_rng(2))
    seen, begun, _, _ = run(words32(instructions), head=1, chain=2)
    assert seen == {unit: 3 * commands for unit, commands in expected(instructions, True).items()}
    assert [b["token"] for b in begun] == [7, 9, 9]
    assert [b["position"] for b in begun] == [40, 41, 42]
    assert [b["fresh"] for b in begun] == [1, 0, 0]


def test_without_a_head_a_chain_ends():
    _, begun, _, _ = run(words32(program(np.random.default_rng(3))), head=0, chain=2)
    assert len(begun) == 1


def test_an_unknown_opcode_ends_the_token_and_says_so():
    _, _, _, illegal = run([15, *[0] * 18], head=1)
    assert illegal


def test_fetch_takes_twenty_one_cycles_an_instruction():
    """Worked: seven instructions of 21 cycles and a few at both ends, when no unit waits."""
    _, _, length, _ = run(words32(program(np.random.default_rng(4))), head=0)
    assert 7 * 21 <= length <= 7 * 22 + 10
