"""Instructions that are carried out again, as those of the blocks of a layer of experts are."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import encode
from lightmamba.hardware.machine.program import Condition, Instruction, Op, instructions
from tests.rtl.test_sequencer import Seen
from tests.rtl.test_sequencer import run as played

CONFIG = ArchConfig(kinds=("mamba2", "experts"), program=16, added_channels=128)
CODED = instructions(CONFIG.kinds, wide=CONFIG.wide)
IN, ROUTE, ADD = CODED.in_proj("experts"), CODED.own("route"), CODED.own("add")
ILLEGAL = 15
MOST = 31  # times


def instruction(rng: np.random.Generator, op: int, **given: Any) -> Instruction:
    """Instruction with commands of random fields."""
    commands = {
        unit: {
            f.name: int(rng.integers(f.min, f.max, endpoint=True))
            for f in CODED.graph.commands[unit]
        }
        for unit in CODED.starts[op]
    }
    return Instruction(op, commands, **given)


def program(rng: np.random.Generator, *ops: int | tuple[int, int]) -> list[Instruction]:
    """Instructions by opcode, or by opcode and how often they are carried out again."""
    pairs = [op if isinstance(op, tuple) else (op, 0) for op in ops]
    found = [instruction(rng, op, again=again) for op, again in pairs]
    return [*found, Instruction(Op.END, {})]


def layer(again: int) -> list[int | tuple[int, int]]:
    """Opcodes of a layer of experts, whose last but one ADD comes again."""
    return [ROUTE, IN, IN, (ADD, again), IN, ADD, Op.OUT]


def unrolled(given: list[Instruction], head: bool) -> list[Instruction]:
    """Instructions in the order in which they run: a repeated one repeats the one before it."""
    found = list[Instruction]()
    for n, each in enumerate(given):
        found += [each, *each.again * given[n - 1 : n + 1]]
    skipped = Condition.NO_HEAD if head else Condition.HEAD
    return [each for each in found if each.when != skipped]


def run(*programs: list[int], head: int = 1, chain: int = 0, **host: Any) -> list[Seen]:
    """Write programs one after another, and start each once, on hardware with experts."""
    return played(*programs, head=head, chain=chain, config=CONFIG, **host)


def check(seen: Seen, given: list[Instruction], *, head: bool = True, tokens: int = 1) -> None:
    """Compare the order of instructions, and the commands of each unit."""
    wanted: dict[str, list[int]] = {unit: [] for unit in CODED.units}
    whole = unrolled(given, head) * tokens
    for each in whole:
        for unit, values in each.commands.items():
            wanted[unit].append(encode(CODED.graph.commands[unit], values))
    assert [op for _, op in seen.dispatched] == [each.op for each in whole if each.op != Op.END]
    assert seen.commands == wanted
    assert (seen.finished, seen.illegal) == (tokens, 0)


@pytest.mark.parametrize(("again", "stalls"), [(0, 0.0), (1, 0.6), (5, 0.3), (MOST, 0.0)])
def test_the_one_before_comes_again_with_it(again, stalls):
    given = program(np.random.default_rng(again), Op.EMBED, *layer(again), Op.HEAD)
    (seen,) = run(CODED.words32(given), stalls=stalls, work=20 * (again < MOST))
    check(seen, given)


def test_worked_order():
    given = program(np.random.default_rng(1), *layer(2))
    (seen,) = run(CODED.words32(given))
    assert [op for _, op in seen.dispatched] == [
        ROUTE, IN, IN, ADD, IN, ADD, IN, ADD, IN, ADD, Op.OUT
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), [(3, 3), (4, 2), (1, 6)])
def test_several_layers(first, second):
    """Each has its own times; layers of other kinds in between."""
    rng = np.random.default_rng(first)
    given = program(rng, *layer(first), Op.IN, Op.OUT, *layer(second))
    (seen,) = run(CODED.words32(given), stalls=0.2)
    check(seen, given)


def test_every_token_of_a_chain_begins_anew():
    given = program(np.random.default_rng(2), Op.EMBED, *layer(3), Op.HEAD)
    (seen,) = run(CODED.words32(given), chain=2, work=10)
    check(seen, given, tokens=3)


@pytest.mark.parametrize("again", [1, 2])
def test_a_token_after_an_unknown_opcode_begins_anew(again):
    """One that asks to come again ends its token; the times that it had do not count."""
    rng = np.random.default_rng(again)
    broken = CODED.words32(program(rng, IN, ROUTE)[:2])
    header = encode(CODED.header, {"op": ILLEGAL, "when": 0, "again": again})
    given = program(rng, *layer(2))
    first, second = run([*broken, header, *[0] * (CODED.bits // 32 - 1)], CODED.words32(given))
    assert [op for _, op in first.dispatched] == [IN, ROUTE]
    assert first.illegal
    assert [op for _, op in second.dispatched] == [each.op for each in unrolled(given, True)[:-1]]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("head", [0, 1])
def test_skipped_instructions_count_as_often(head, both):
    """The one before comes as often, whether or not the one that asks for it is carried out."""
    rng = np.random.default_rng(head)
    when = Condition.HEAD if both else Condition.ALWAYS
    given = [
        instruction(rng, ROUTE),
        instruction(rng, IN, when=when),
        instruction(rng, ADD, when=Condition.HEAD, again=3),
        instruction(rng, IN),
        instruction(rng, ADD, again=1),
        Instruction(Op.END, {}),
    ]
    (seen,) = run(CODED.words32(given), head=head, stalls=0.2)
    check(seen, given, head=bool(head))


def test_a_repetition_takes_as_long_as_any_instruction():
    """Cycles from one dispatch to the next, where no queue is full."""
    given = program(np.random.default_rng(5), *layer(4))
    (seen,) = run(CODED.words32(given))
    cycles = [cycle for cycle, _ in seen.dispatched]
    assert len(set(np.diff(cycles).tolist())) == 1
