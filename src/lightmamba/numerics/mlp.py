"""The hidden values of an MLP: gated by SiLU, or the square of ReLU."""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.conv import Silu
from lightmamba.numerics.formats import INT24, IntFormat
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["GatedSilu", "SquaredRelu"]


@dataclass(frozen=True)
class GatedSilu:
    """silu(a)·b in int24, of int16 rows (SwiGLU; Shazeer, arXiv 2002.05202)."""

    silu: Silu = field(default=Silu())
    out: IntFormat = INT24

    def __call__(self, a: Ints, b: Ints, silu_shift: int, shift: int) -> tuple[Ints, int]:
        """Map (..., channels) to hidden values and how many saturated."""
        product = round_shift(b * self.silu(a, silu_shift), shift)
        return self.out(product), self.out.overflows(product)


@dataclass(frozen=True)
class SquaredRelu:
    """max(a, 0)² in int24, of int16 rows (Primer; So et al., arXiv 2109.08668)."""

    out: IntFormat = INT24

    def __call__(self, a: Ints, shift: int) -> tuple[Ints, int]:
        """Map (..., channels) to hidden values and how many saturated."""
        positive = np.maximum(a, 0)
        square = round_shift(positive * positive, shift)
        return self.out(square), self.out.overflows(square)
