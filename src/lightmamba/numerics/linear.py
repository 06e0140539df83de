"""Projections: integer products, scales by block and by group, and 1/rms in the epilogue.

The norm in front of a projection never delays it: the input is quantized as it is, and the
reciprocal of its rms multiplies the finished sum (docs/reference/numerics.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import GroupScale, IntFormat
from lightmamba.numerics.primitives import Ints, round_shift, saturate
from lightmamba.numerics.tables import Rsqrt

__all__ = ["Epilogue", "Projection", "RmsNorm"]


@dataclass(frozen=True)
class RmsNorm:
    """Reciprocal root of a sum of squares, one per group of channels.

    The factor sqrt(channels) of the true 1/rms lies in the weights that follow. Values are rounded
    to int24 before squaring, so a sum of 2^14 of them fits 60 bits.
    """

    square: IntFormat = IntFormat(24)
    rsqrt: Rsqrt = Rsqrt()

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
    of a block is below 2^24, so it may run through float32 hardware and stay exact.

    Parameters
    ----------
    act : BlockQuant
        Format of the input; its block must divide ``group``.
    bits : int
        Width of a weight, 4 or 8.
    group : int
        Weights along the input axis that share a scale.
    """

    act: BlockQuant
    bits: int
    group: int = 128
    scale: GroupScale = GroupScale()

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"weight bits must be 4 or 8, not {self.bits}")
        if self.group % self.act.block:
            raise ValueError(f"block {self.act.block} must divide the group of {self.group}")

    def accumulator_bits(self, channels: int) -> int:
        """Width that holds any sum over ``channels`` inputs, the sign included."""
        block_sum = self.act.block * -self.act.qmin * (1 << (self.bits - 1))
        group_sum = (self.group // self.act.block) * block_sum * (7 << 15)
        return (-(-channels // self.group) * group_sum * (63 << 7)).bit_length() + 1

    def block_sums(self, q: NDArray[np.int8], weight: NDArray[np.int8]) -> NDArray[np.float32]:
        """Sums of q·w, (blocks, vectors, rows), of (vectors, channels) and (rows, channels)."""
        block = self.act.block
        blocks = q.reshape(len(q), -1, block).transpose(1, 0, 2).astype(np.float32)
        weights = weight.reshape(len(weight), -1, block).transpose(1, 2, 0).astype(np.float32)
        return blocks @ weights

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
        return groups.reshape(parts, -1, *groups.shape[1:]).sum(1).transpose(1, 0, 2)


@dataclass(frozen=True)
class Epilogue:
    """Bring a finished sum to the format of its row: static shift, times 1/rms, dynamic shift."""

    wide: IntFormat = IntFormat(40)

    def __call__(
        self, acc: Ints, acc_shift: int, mantissa: Ints, shift: Ints, out: IntFormat
    ) -> tuple[Ints, int]:
        """Saturated rows, and how often either saturation struck.

        ``shift`` is the row's static shift plus the j of the rms; it is never negative.
        """
        rounded = round_shift(acc, acc_shift)
        wide = self.wide(rounded)
        scaled = round_shift(wide * mantissa, saturate(shift, 0, 62))
        return out(scaled), self.wide.overflows(rounded) + out.overflows(scaled)
