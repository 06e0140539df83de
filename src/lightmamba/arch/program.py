"""The program: the commands of each unit, and the units that each instruction starts.

An instruction is an opcode, a condition, and one command record for each unit that it starts. The
sequencer hands each record to its unit's queue and goes on; units wait for data, never for each
other. Nothing of a checkpoint is fixed in hardware: all of it is in these records and in memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from lightmamba.arch.fields import Field, decode, encode, width

__all__ = [
    "COMMANDS", "INSTRUCTION_BITS", "OPERATIONS", "SECTIONS", "Condition", "Instruction", "Kind",
    "Op", "offsets", "words32",
]  # fmt: skip


class Kind(IntEnum):
    """Kind of a row of a projection, or of a section of rows."""

    DT = 0
    B = 1
    C = 2
    X = 3
    Z = 4
    OUT = 5
    LOGIT = 6
    XZ = 7  # only of a section: rows of X and Z alternate, X first


class Op(IntEnum):
    """Opcodes."""

    END = 0
    EMBED = 1
    IN = 2
    OUT = 3
    LAST_OUT = 4  # out_proj whose result goes nowhere: a token without a head
    HEAD = 5


class Condition(IntEnum):
    """When an instruction is carried out."""

    ALWAYS = 0
    HEAD = 1  # only for tokens whose logits are wanted
    NO_HEAD = 2


def _quantizer(real: str) -> tuple[Field, ...]:
    return (
        Field("count", 15, f"channels of the {real}"),
        Field("pad", 7, "zeros after them, to whole groups of 128"),
        Field("base", 5, "exponent of the smallest scale"),
        Field("head", 1, "the head's format instead of the projections'"),
    )


_RMS = (
    Field("count", 4, "norm groups"),
    Field("eps", 61, "epsilon in units of the sum"),
)
SECTIONS = ("first", "second", "third", "fourth", "fifth", "sixth")  # of the rows of a projection

COMMANDS: Mapping[str, tuple[Field, ...]] = {
    "embed": (
        Field("count", 15, "channels (d_model)"),
        Field("groups", 8, "groups of 128 in a row of the table"),
        Field("shift", 8, "right shift to the residual's unit", signed=True),
    ),
    "residual": (
        Field("count", 15, "channels (d_model)"),
        Field("add", 1, "add to the stream; 0 sets it"),
        Field("emit", 1, "pass it on to the next projection"),
    ),
    "rms_in": _RMS,
    "rms_out": _RMS,
    "quant_in": _quantizer("residual stream"),
    "quant_out": _quantizer("transformed gate"),
    "lanes": (
        Field("gated", 1, "input: 0 the residual's vector, 1 the gate's"),
        Field("slots", 17, "rows per lane"),
        Field("words", 10, "beats of a row within a norm group"),
        Field("parts", 4, "norm groups"),
        Field("twice", 1, "each weight meets the upper and the lower half of an activation"),
    ),
    "epilogue": (
        Field("rows", 20, "rows that count; lanes pad them to whole slots"),
        Field("parts", 4, "norm groups, added"),
        Field("gated", 1, "1/rms of the gate instead of the residual stream"),
        Field("acc_shift", 6, "right shift of a finished sum"),
        Field("narrow", 1, "rows are int16, else int32"),
        *(
            field
            for name in SECTIONS
            for field in (
                Field(f"{name}_kind", 3, "kind of the rows of a section"),
                Field(f"{name}_end", 20, "the row behind its last; rows, if it is not used"),
            )
        ),
        *(Field(f"shift_{kind}", 6, f"static right shift of rows of {kind}")
          for kind in ("dt", "B", "C", "x", "z")),
    ),
    "conv": (
        Field("count", 16, "channels (conv_dim)"),
        *(Field(f"silu_{kind}", 7, f"right shift of {kind} to the sigmoid's input", signed=True)
          for kind in ("B", "C", "x")),
    ),
    "blocks": (
        Field("count", 16, "channels (conv_dim)"),
        Field("headdim", 8, "channels of x after which a block ends"),
        Field("d_state", 9, "channels of B or C after which a block ends"),
    ),
    "bc": (
        Field("groups", 4, "groups of B and C"),
        Field("d_state", 9, "channels of one group, before padding to blocks of 32"),
    ),
    "discretize": (
        Field("count", 10, "heads"),
        Field("low", 16, "lower clamp of the input of softplus, Q5.11", signed=True),
        Field("high", 16, "upper clamp", signed=True),
    ),
    "ssm": (
        Field("heads", 10, "heads"),
        Field("per_group", 10, "heads that share B and C"),
        Field("headdim", 8, "rows of a head"),
        Field("words", 4, "words of a row (padded d_state / S)"),
        Field("stride", 9, "elements of a row as the dither counts them"),
        Field("frame", 9, "shift of dt·x·B into the frame, before the dynamic parts", signed=True),
        Field("y", 6, "right shift of state times C to y"),
        Field("D_shift", 9, "right shift of D·x to y, before the dynamic part", signed=True),
        Field("dither", 1, "round with dither, else half up"),
    ),
    "gate": (
        Field("count", 15, "channels (d_inner)"),
        Field("group_dim", 15, "channels of a norm group"),
        Field("silu", 7, "right shift of z to the sigmoid's input", signed=True),
        Field("shift", 7, "right shift of y·silu(z)", signed=True),
        Field("weighted", 7, "right shift of g·weight", signed=True),
    ),
    "hadamard": (
        Field("groups", 4, "norm groups"),
        Field("group_dim", 15, "channels of one"),
        Field("pad", 7, "zeros after them, to whole groups of 128"),
        Field("order_log2", 3, "0 leaves values as they are, 7 is H128"),
        Field("shift", 5, "right shift after the transform"),
    ),
    "head": (
        Field("rows", 20, "logits (vocab_size)"),
        Field("valid", 20, "ids from here on are padding and never win"),
    ),
}  # fmt: skip

OPERATIONS: Mapping[Op, tuple[str, ...]] = {
    Op.END: (),
    Op.EMBED: ("embed", "residual", "rms_in", "quant_in"),
    Op.IN: (
        "lanes", "epilogue", "discretize", "conv", "blocks", "bc", "ssm", "gate", "rms_out",
        "hadamard", "quant_out",
    ),
    Op.OUT: ("lanes", "epilogue", "residual", "rms_in", "quant_in"),
    Op.LAST_OUT: ("lanes", "epilogue", "residual"),
    Op.HEAD: ("lanes", "epilogue", "head"),
}  # fmt: skip

_HEADER = (Field("op", 4, "opcode"), Field("when", 2, "condition"))


def _bits(op: Op) -> int:
    return width(_HEADER) + sum(width(COMMANDS[unit]) for unit in OPERATIONS[op])


INSTRUCTION_BITS = -(-max(_bits(op) for op in Op) // 32) * 32


def offsets(op: Op) -> dict[str, int]:
    """First bit of each command record in an instruction."""
    at, found = width(_HEADER), {}
    for unit in OPERATIONS[op]:
        found[unit] = at
        at += width(COMMANDS[unit])
    return found


@dataclass(frozen=True)
class Instruction:
    """One instruction: commands by unit, each a value per field."""

    op: Op
    commands: Mapping[str, Mapping[str, int]]
    when: Condition = Condition.ALWAYS

    def encode(self) -> int:
        """Instruction word.

        Raises
        ------
        ValueError
            If a unit or a field is missing, unknown, or does not fit.
        """
        if set(self.commands) != set(OPERATIONS[self.op]):
            raise ValueError(f"{self.op.name} takes commands for {OPERATIONS[self.op]}")
        word = encode(_HEADER, {"op": self.op, "when": self.when})
        for unit, at in offsets(self.op).items():
            try:
                word |= encode(COMMANDS[unit], self.commands[unit]) << at
            except ValueError as error:
                raise ValueError(f"{self.op.name}, {unit}: {error}") from None
        return word

    @staticmethod
    def decode(word: int) -> "Instruction":
        """Invert :meth:`encode`."""
        header = decode(_HEADER, word)
        op = Op(header["op"])
        commands = {unit: decode(COMMANDS[unit], word >> at) for unit, at in offsets(op).items()}
        return Instruction(op, commands, Condition(header["when"]))


def words32(program: Iterable[Instruction]) -> list[int]:
    """Program as 32-bit words, each instruction lowest word first."""
    return [
        (word >> at) & 0xFFFFFFFF
        for word in (instruction.encode() for instruction in program)
        for at in range(0, INSTRUCTION_BITS, 32)
    ]
