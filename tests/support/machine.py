"""The machine of Mamba2 layers, whose parts the tests of its units name."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from lightmamba.hardware.machine.counters import losses
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.registers import registers

__all__ = [
    "COMMANDS", "INSTRUCTIONS", "LOSSES", "MACHINE", "OPERATIONS", "REGISTERS", "Kind", "words32",
]  # fmt: skip

ALONE = ("mamba2",)
MACHINE, INSTRUCTIONS = machine(ALONE), instructions(ALONE)
COMMANDS, OPERATIONS = MACHINE.commands, INSTRUCTIONS.starts
REGISTERS, LOSSES = registers(ALONE), losses(ALONE)
words32 = INSTRUCTIONS.words32


def _enum(kinds: Mapping[str, int]) -> Any:
    return IntEnum("Kind", {name.upper().replace("|", ""): n for name, n in kinds.items()})


# Kinds of rows; XZ, of a section: rows of x and z by turns.
Kind = _enum(MACHINE.kinds)
