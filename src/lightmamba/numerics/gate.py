"""The gate between the state-space model and out_proj: y·silu(z), norm weight, Hadamard."""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.conv import Silu
from lightmamba.numerics.formats import INT24, INT32, IntFormat
from lightmamba.numerics.hadamard import fast_hadamard
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["Gate", "OnlineHadamard"]


@dataclass(frozen=True)
class Gate:
    """g = y·silu(z) in int24, whose squares make the rms, and g·w, which goes on."""

    silu: Silu = field(default=Silu())
    out: IntFormat = INT24

    def __call__(
        self, y: Ints, z: Ints, silu_shift: int, shift: int, weight: Ints, weight_shift: int
    ) -> tuple[Ints, Ints, int]:
        """Map int24 y and int16 z, (..., channels), to g, g·w and overflows."""
        product = round_shift(y * self.silu(z, silu_shift), shift)
        g = self.out(product)
        weighted = round_shift(g * weight, weight_shift)
        lost = self.out.overflows(product) + self.out.overflows(weighted)
        return g, self.out(weighted), lost


@dataclass(frozen=True)
class OnlineHadamard:
    """Hadamard transform within each norm group, zero-padded to whole blocks.

    Block-diagonal H128 by default; ``order`` 0 transforms a whole norm group at once, the paper's
    choice; ``order`` 1 does nothing. Not normalized: the weights that follow hold 1/sqrt(order).
    """

    order: int = 128
    pad: int = 128  # a norm group is padded to a multiple of this
    out: IntFormat = INT32

    def padded(self, group_dim: int) -> int:
        """Channels of a norm group after padding."""
        return -(-group_dim // self.pad) * self.pad

    def size(self, group_dim: int) -> int:
        """Order of the transform for a norm group of this size."""
        return self.padded(group_dim) if self.order == 0 else self.order

    def __call__(self, x: Ints, groups: int, shift: int) -> tuple[Ints, int]:
        """Map (..., channels) int24 to (..., groups * padded) int32, shifted right, rounded."""
        grouped = x.reshape(*x.shape[:-1], groups, -1)
        group_dim = grouped.shape[-1]
        width = self.padded(group_dim) - group_dim
        padded = np.pad(grouped, [(0, 0)] * (grouped.ndim - 1) + [(0, width)])
        size = self.size(group_dim)
        mixed = fast_hadamard(padded, size) if size > 1 else padded
        wide = round_shift(mixed, shift)
        return self.out(wide).reshape(*x.shape[:-1], -1), self.out.overflows(wide)
