"""The engine's operations by the numerics objects themselves: slow, plain, the truth."""

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Arithmetic
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.linear import Epilogue, Projection, RmsNorm
from lightmamba.numerics.primitives import Ints

__all__ = ["PART", "Reference"]

PART = IntFormat(32)  # one norm group's share of a row of out_proj
NORM, EPILOGUE = RmsNorm(), Epilogue()


class Reference:
    """Every operation on arrays, with the counts of what saturated."""

    def __init__(self, model: QuantizedModel) -> None:
        self.formats = model.formats

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        """(mantissa, j) of each of (vectors, groups)."""
        return NORM(x, shift, groups, eps)

    def quantize(
        self, act: BlockQuant, x: Ints, channels: int, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        """Block-quantize (vectors, n), zero-padded to ``channels``."""
        return act(np.pad(x, [(0, 0), (0, channels - x.shape[1])]), base)

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Ints,
        out: IntFormat,
    ) -> tuple[Ints, int]:
        """Project (vectors, channels) to (vectors, rows): one part per norm group, added."""
        mantissa, j = rms
        parts = mantissa.shape[1]
        acc = op(q, code, linear.q, linear.code, parts)
        form = out if parts == 1 else PART
        rows, lost = EPILOGUE(
            acc, linear.acc_shift, mantissa[..., None], j[..., None] + row_shift, form
        )
        return rows.sum(1), lost

    def arithmetic(self, layer: QuantizedLayer) -> Arithmetic:
        """Run a layer between its projections."""
        own = kind(layer.mixer.sizes.kind).Arithmetic
        plain: Arithmetic = own(layer.mixer, self.formats)
        return plain
