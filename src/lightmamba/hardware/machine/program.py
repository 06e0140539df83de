"""The program: the commands of each unit, and the units that each instruction starts.

An instruction is an opcode, a condition, and one command record for each unit that it starts. The
sequencer hands each record to its unit's queue and goes on; units wait for data, never for each
other. Nothing of a checkpoint is fixed in hardware: all of it is in these records and in memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property

from lightmamba.arch.fields import Field, decode, encode, width
from lightmamba.arch.graph import BEFORE, Graph
from lightmamba.hardware.machine.kinds import machine

__all__ = ["HEADER", "Condition", "Instruction", "Instructions", "Op", "instructions"]


class Condition(IntEnum):
    """When an instruction is carried out."""

    ALWAYS = 0
    HEAD = 1  # only for tokens whose logits are wanted
    NO_HEAD = 2


class Op(IntEnum):
    """Opcodes of the spine; those of the in_proj of further kinds follow."""

    END = 0
    EMBED = 1
    IN = 2  # of the first kind
    OUT = 3
    LAST_OUT = 4  # out_proj whose result goes nowhere: a token without a head
    HEAD = 5


HEADER = (Field("op", 4, "opcode"), Field("when", 2, "condition"))
# Where kinds of layers have instructions of their own, some of which are carried out again.
AGAIN = Field("again", 5, "times that this instruction and the one before are carried out again")
BEHIND = ("hadamard", "quant_out")  # units of the spine behind those of a kind, in its in_proj
STARTS = {
    Op.END: (),
    Op.EMBED: ("embed", "residual", "rms_in", "quant_in"),
    Op.OUT: ("lanes", "epilogue", "residual", "rms_in", "quant_in"),
    Op.LAST_OUT: ("lanes", "epilogue", "residual"),
    Op.HEAD: ("lanes", "epilogue", "head"),
}


@dataclass(frozen=True)
class Instruction:
    """One instruction: commands by unit, each a value per field.

    ``again``: how often the one before and this one are carried out once more.
    """

    op: int
    commands: Mapping[str, Mapping[str, int]]
    when: Condition = Condition.ALWAYS
    again: int = 0


@dataclass(frozen=True)
class Instructions:
    """Instructions of a machine.

    Parameters
    ----------
    graph : Graph
    """

    graph: Graph

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Names by opcode."""
        found = {int(op): op.name for op in Op}
        for kind in self.graph.starts:
            found[self.in_proj(kind)] = f"IN {kind}"
        return found | {self.own(name): name.upper() for name in self.graph.instructions}

    @cached_property
    def starts(self) -> Mapping[int, tuple[str, ...]]:
        """Units that each opcode starts."""
        found: dict[int, tuple[str, ...]] = {int(op): units for op, units in STARTS.items()}
        for kind, units in self.graph.starts.items():
            found[self.in_proj(kind)] = (*BEFORE, *units, *BEHIND)
        found |= {self.own(name): units for name, units in self.graph.instructions.items()}
        return dict(sorted(found.items()))

    @cached_property
    def header(self) -> tuple[Field, ...]:
        """Fields in front of the commands."""
        return (*HEADER, AGAIN) if self.graph.instructions else HEADER

    @cached_property
    def bits(self) -> int:
        """Bits of an instruction: whole words of 32."""
        units = self.starts.values()
        most = max(sum(width(self.graph.commands[unit]) for unit in some) for some in units)
        return -(-(width(self.header) + most) // 32) * 32

    @property
    def units(self) -> tuple[str, ...]:
        """Units that have commands: the bits of register ``units``."""
        return tuple(self.graph.commands)

    @property
    def fetch(self) -> int:
        """Cycles from one instruction to the next."""
        return self.bits // 32 + 2

    def in_proj(self, kind: str) -> int:
        """Opcode of the in_proj of a kind's layers."""
        place = list(self.graph.starts).index(kind)
        return max(Op) + place if place else Op.IN

    def own(self, name: str) -> int:
        """Opcode of an instruction that only some kind of layers has."""
        return max(Op) + len(self.graph.starts) + list(self.graph.instructions).index(name)

    def offsets(self, op: int) -> dict[str, int]:
        """First bit of each command record in an instruction."""
        at, found = width(self.header), {}
        for unit in self.starts[op]:
            found[unit] = at
            at += width(self.graph.commands[unit])
        return found

    def encode(self, instruction: Instruction) -> int:
        """Instruction word.

        Raises
        ------
        ValueError
            If a unit or a field is missing, unknown, or does not fit.
        """
        op, name = instruction.op, self.names[instruction.op]
        if set(instruction.commands) != set(self.starts[op]):
            raise ValueError(f"{name} takes commands for {self.starts[op]}")
        given = {"op": op, "when": instruction.when, "again": instruction.again}
        word = encode(self.header, {field.name: given[field.name] for field in self.header})
        for unit, at in self.offsets(op).items():
            try:
                word |= encode(self.graph.commands[unit], instruction.commands[unit]) << at
            except ValueError as error:
                raise ValueError(f"{name}, {unit}: {error}") from None
        return word

    def decode(self, word: int) -> Instruction:
        """Invert :meth:`encode`.

        Raises
        ------
        ValueError
            If there is no such opcode or condition.
        """
        header = decode(self.header, word)
        if (op := header["op"]) not in self.starts:
            raise ValueError(f"there is no opcode {op}")
        commands = {
            unit: decode(self.graph.commands[unit], word >> at)
            for unit, at in self.offsets(op).items()
        }
        return Instruction(op, commands, Condition(header["when"]), header.get("again", 0))

    def words32(self, program: Iterable[Instruction]) -> list[int]:
        """Program as 32-bit words, each instruction lowest word first."""
        return [
            (word >> at) & 0xFFFFFFFF
            for word in map(self.encode, program)
            for at in range(0, self.bits, 32)
        ]


@cache
def instructions(kinds: tuple[str, ...], *, wide: bool = False) -> Instructions:
    """Instructions of the machine of some kinds of layers; ``wide`` as of :func:`machine`."""
    return Instructions(machine(kinds, wide=wide))
