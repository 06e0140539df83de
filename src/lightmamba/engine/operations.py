"""Interface of a back end: the operations that all layer kinds share."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.layer import Arithmetic, Rms
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints

__all__ = ["Operations"]


class Operations(Protocol):
    """Exact integer operations on arrays, with the counts of what saturated."""

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> Rms:
        """(mantissa, j) of each of (vectors, groups)."""

    def quantize(
        self, act: BlockQuant, x: Ints, channels: int, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        """Block-quantize (vectors, n), zero-padded to ``channels``; what clipped and clamped."""

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: Rms,
        row_shift: Any,
        out: IntFormat,
    ) -> tuple[Ints, int]:
        """Project (vectors, channels) to (vectors, rows): one part per norm group, added."""

    def arithmetic(self, layer: QuantizedLayer) -> Arithmetic:
        """Run a layer between its projections."""
