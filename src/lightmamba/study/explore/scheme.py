"""Schemes: the arithmetic of a model by a short name, and whether the hardware supports it."""

import math
import re
from dataclasses import dataclass

from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.common.errors import InputError
from lightmamba.numerics.model_formats import Formats

__all__ = ["SCHEMES", "Scheme"]

SCHEMES = ("w4a4", "w4a8", "w8a8")  # those that the shipped recipes make
EXAMPLE = "w4a4, w8a8, w4a4-block16 or w4a4-group64"
FORM = re.compile(r"w(\d)a(\d)(?:-block(\d{1,4}))?(?:-group(\d{1,4}))?")
LARGEST_GROUP = 1024  # as the recipes have it
ORDER = 128  # of the on-line Hadamard transform, where the group has room for it


@dataclass(frozen=True)
class Scheme:
    """Bits of weights and activations, and how many share a scale.

    Raises
    ------
    ValueError
        If no such model can be quantized.
    """

    weight_bits: int = 4
    act_bits: int = 4
    block: int = BLOCK  # activations, of the head too
    group: int = GROUP  # weights along the input axis

    def __post_init__(self) -> None:
        if self.bits not in SCHEMES:
            raise ValueError(f"there are recipes for {', '.join(SCHEMES)}, not for {self.bits}")
        if not 2 <= self.group <= LARGEST_GROUP or self.group % 2:
            raise ValueError(f"group must be even, from 2 to {LARGEST_GROUP}, not {self.group}")
        _ = self.formats

    @property
    def bits(self) -> str:
        """The recipe's name."""
        return f"w{self.weight_bits}a{self.act_bits}"

    @property
    def name(self) -> str:
        """Name that :meth:`parse` reads."""
        block = "" if self.block == BLOCK else f"-block{self.block}"
        return self.bits + block + ("" if self.group == GROUP else f"-group{self.group}")

    @property
    def in_hardware(self) -> bool:
        """Whether the hardware has its block and group; if not, it has an accuracy only."""
        return self.block == BLOCK and self.group == GROUP

    @property
    def hadamard(self) -> int:
        """Order of the transform before out_proj, which must divide the group."""
        return math.gcd(ORDER, self.group)

    @property
    def formats(self) -> Formats:
        """Arithmetic of a model of this scheme."""
        return Formats(
            self.weight_bits, self.act_bits, block=self.block, group=self.group,
            head_weight_bits=self.weight_bits, head_block=self.block, hadamard=self.hadamard,
        )  # fmt: skip

    @staticmethod
    def parse(name: str) -> "Scheme":
        """Read a name such as ``w4a8`` or ``w4a4-block16-group64``.

        Raises
        ------
        InputError
            If it is none, or no such model can be quantized.
        """
        if (found := FORM.fullmatch(name.strip())) is None:
            raise InputError(f"there is no scheme {name.strip()!r}; write it like {EXAMPLE}")
        weight, act, block, group = (None if n is None else int(n) for n in found.groups())
        try:
            return Scheme(
                weight or 0, act or 0, BLOCK if block is None else block,
                GROUP if group is None else group,
            )  # fmt: skip
        except ValueError as error:
            raise InputError(f"scheme {name.strip()}: {error}") from error
