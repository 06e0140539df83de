"""Instructions become words and come back; those of every kind of layers have an opcode."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.hardware.machine.program import STARTS, Condition, Instruction, Op, instructions

ALONE = ("mamba2",)


def random(coded, op, rng):
    """An instruction with any values."""
    commands = {
        unit: {f.name: int(rng.integers(f.min, f.max, endpoint=True))
               for f in coded.graph.commands[unit]}
        for unit in coded.starts[op]
    }  # fmt: skip
    return Instruction(op, commands, Condition(int(rng.integers(3))))


def test_every_instruction_comes_back(both):
    rng = np.random.default_rng(3)
    for coded in (instructions(ALONE), instructions(both.kinds)):
        for op in coded.starts:
            given = random(coded, op, rng)
            word = coded.encode(given)
            assert word >> coded.bits == 0
            assert coded.decode(word) == given


def test_words_begin_with_the_lowest():
    coded, rng = instructions(ALONE), np.random.default_rng(4)
    given = [random(coded, op, rng) for op in coded.starts]
    words, per = coded.words32(given), coded.bits // 32
    assert len(words) == per * len(given)
    rows = [words[at : at + per] for at in range(0, len(words), per)]
    assert [coded.decode(sum(w << 32 * n for n, w in enumerate(row))) for row in rows] == given


def test_opcodes_of_further_kinds_come_behind_those_of_the_spine(both):
    coded = instructions(both.kinds)
    assert [coded.in_proj(kind) for kind in both.kinds] == [Op.IN, max(Op) + 1]
    assert coded.names == {**{int(op): op.name for op in STARTS}, 2: "IN grown", 6: "IN mamba2"}
    assert coded.starts[Op.IN] == ("lanes", "epilogue", "mix", "hadamard", "quant_out")
    assert coded.starts[6] == instructions(ALONE).starts[Op.IN]


def test_records_lie_one_behind_the_other():
    coded = instructions(ALONE)
    for op, units in coded.starts.items():
        at = 6  # opcode and condition
        for unit in units:
            assert coded.offsets(op)[unit] == at
            at += sum(field.bits for field in coded.graph.commands[unit])
        assert at <= coded.bits


def test_refusals():
    coded, rng = instructions(ALONE), np.random.default_rng(5)
    given = random(coded, Op.OUT, rng)
    with pytest.raises(ValueError, match="IN mamba2 takes commands for"):
        coded.encode(replace(given, op=Op.IN))
    wide = {**given.commands, "lanes": {**given.commands["lanes"], "gated": 2}}
    with pytest.raises(ValueError, match="OUT, lanes: gated is 2, expected 0 to 1"):
        coded.encode(replace(given, commands=wide))
    with pytest.raises(ValueError, match="there is no opcode 15"):
        coded.decode(15)
    with pytest.raises(ValueError, match="3 is not a valid Condition"):
        coded.decode(3 << 4)
