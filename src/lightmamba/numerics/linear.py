"""Projections: integer products, scales by block and by group, and 1/rms in the epilogue.

The norm in front of a projection never delays it: the input is quantized as it is, and the
reciprocal of its rms multiplies the finished sum (docs/reference/numerics.md).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import INT24, GroupScale, IntFormat
from lightmamba.numerics.primitives import Ints, round_shift, saturate
from lightmamba.numerics.tables import Rsqrt

__all__ = ["UNIT", "Epilogue", "Projection", "RmsNorm"]

UNIT = (1 << 15, -7)  # mantissa and j of a 1/rms of one, of values with the exponent -1
EXACT = 1 << 24  # whole numbers up to here are exact in float32


@dataclass(frozen=True)
class RmsNorm:
    """Reciprocal root of a sum of squares, one per group of channels.

    The factor sqrt(channels) of the true 1/rms lies in the weights that follow. Values are rounded
    to int24 before squaring, so a sum of 2^14 of them fits 60 bits.
    """

    square: IntFormat = INT24
    rsqrt: Rsqrt = field(default=Rsqrt())

    def __call__(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        """Map (..., channels) to (mantissa, j), each (..., groups); see :class:`Rsqrt`.

        ``eps`` >= 1 is the checkpoint's epsilon times the channels of a group, in squared units of
        ``x >> shift``.
        """
        narrow = self.square(round_shift(x, shift))
        grouped = narrow.reshape(*narrow.shape[:-1], groups, -1)
        return self.rsqrt((grouped * grouped).sum(-1) + eps)


@dataclass(frozen=True)
class Projection:
    """Integer matrix product with a scale per activation block and per weight group.

    acc = sum over groups of (32 + M)·2^E · sum over its blocks of (4 + m)·2^e · sum of q·w. The sum
    of a block is at most 2^24, so it may run through float32 hardware and stay exact.

    Parameters
    ----------
    act : BlockQuant
        Format of the input; its block must divide ``group``.
    bits : int
        Width of a weight, 4 or 8.
    group : int
        Weights along the input axis that share a scale.
    weight_qmax : int
        Largest weight; 119 where one of 8 bits is split into two signed nibbles.
    """

    act: BlockQuant
    bits: int
    group: int = 128
    scale: GroupScale = field(default=GroupScale())
    weight_qmax: int = 0  # 0: the largest that the bits hold

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"weight bits must be 4 or 8, not {self.bits}")
        if self.weight_qmax == 0:
            object.__setattr__(self, "weight_qmax", IntFormat(self.bits).max)
        if not 1 <= self.weight_qmax <= IntFormat(self.bits).max:
            raise ValueError(f"weight_qmax {self.weight_qmax} does not fit {self.bits} bits")
        if self.group < 1:
            raise ValueError(f"group must be positive, not {self.group}; try 128")
        if self.group % self.act.block:
            raise ValueError(f"block {self.act.block} must divide the group of {self.group}")
        if self.act.block * self.largest_product > EXACT:
            raise ValueError(
                f"{self.act.block} products of {self.act.bits} and {self.bits} bits may exceed "
                f"2^24; make the block {EXACT // self.largest_product} or smaller"
            )

    @property
    def largest_product(self) -> int:
        """Largest magnitude of one product q·w."""
        return -self.act.qmin << (self.bits - 1)

    def accumulator_bits(self, channels: int) -> int:
        """Width that holds any sum over ``channels`` inputs, the sign included."""
        group_sum = self.group * self.largest_product * (7 << 15)
        return (-(-channels // self.group) * group_sum * (63 << 7)).bit_length() + 1

    def block_sums(self, q: NDArray[np.int8], weight: NDArray[np.int8]) -> NDArray[np.float32]:
        """Sums of q·w, (blocks, vectors, rows), of (vectors, channels) and (rows, channels)."""
        block = self.act.block
        blocks = q.reshape(len(q), -1, block).transpose(1, 0, 2)
        weights = weight.reshape(len(weight), -1, block).transpose(1, 2, 0)
        return blocks.astype(np.float32, order="C") @ weights.astype(np.float32, order="C")

    def __call__(
        self,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        weight: NDArray[np.int8],
        weight_code: NDArray[np.uint8],
        parts: int = 1,
    ) -> Ints:
        """Sum (vectors, channels) inputs over each of ``parts`` runs of channels.

        Returns (vectors, parts, rows): one partial sum per norm group.
        """
        sums = self.block_sums(q, weight).astype(np.int64)
        sums *= BlockQuant.multiplier(code).T[:, :, None]
        per_group = self.group // self.act.block
        groups = sums.reshape(-1, per_group, *sums.shape[1:]).sum(1)
        groups *= self.scale.multiplier(weight_code).T[:, None, :]
        total: Ints = groups.reshape(parts, -1, *groups.shape[1:]).sum(1)
        return total.transpose(1, 0, 2)


@dataclass(frozen=True)
class Epilogue:
    """Bring a finished sum to the format of its row: static shift, times 1/rms, dynamic shift."""

    wide: IntFormat = field(default=IntFormat(40))

    def __call__(
        self, acc: Ints, acc_shift: int, mantissa: Ints, shift: Ints, out: IntFormat
    ) -> tuple[Ints, int]:
        """Saturated rows, and how often either saturation struck.

        ``shift`` is the row's static shift plus the j of the rms, limited to 0..62.
        """
        rounded = round_shift(acc, acc_shift)
        wide = self.wide(rounded)
        scaled = round_shift(wide * mantissa, saturate(shift, 0, 62))
        return out(scaled), self.wide.overflows(rounded) + out.overflows(scaled)
