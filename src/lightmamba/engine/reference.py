"""The engine's operations by the numerics objects themselves: slow, plain, the truth.

Inputs that are scaled and shifted per channel before quantization are of the comparison recipes:
SmoothQuant and RTN with unfused norms scale the residual by its norm weight; Outlier Suppression+
also subtracts z·rms, which is known where 1/rms is. Kernels and hardware support none of this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Arithmetic
from lightmamba.common.forks import ForkLock
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import INT32, IntFormat
from lightmamba.numerics.linear import Epilogue, Projection, RmsNorm
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["PART", "ROOT_BITS", "Reference", "one_blas_thread", "rescale_input"]

PART = IntFormat(32)  # one norm group's share of a row of out_proj
ROOT_BITS = 15  # fractional bits of the root of the sum of squares
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
        """Block-quantize (vectors, n), zero-padded to ``channels``; what clipped and clamped."""
        return act(np.pad(x, [(0, 0), (0, channels - x.shape[1])]), base)

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Any,
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

    def sums(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
    ) -> Ints:
        """Exact sums (vectors, rows) of (vectors, channels), as they are before the epilogue."""
        total: Ints = op(q, code, linear.q, linear.code)[:, 0]
        return total

    def arithmetic(self, layer: QuantizedLayer) -> Arithmetic:
        """Run a layer between its projections."""
        own = kind(layer.mixer.sizes.kind).Arithmetic
        plain: Arithmetic = own(layer.mixer, self.formats)
        return plain


def rescale_input(linear: QuantizedLinear, x: Ints, rms: tuple[Ints, Ints]) -> tuple[Ints, int]:
    """Scaled and shifted (vectors, channels) in int32, and overflows."""
    wide = x
    if linear.input_scale is not None:
        wide = round_shift(wide * linear.input_scale, -linear.input_scale_exp)
    if linear.input_shift is not None:
        mantissa, j = rms
        root: Ints = (np.int64(1) << (23 + ROOT_BITS + j)) // mantissa  # (vectors, groups)
        spread: Ints = np.repeat(root, x.shape[1] // root.shape[1], axis=1)
        wide = wide - round_shift(spread * linear.input_shift, -linear.input_shift_exp)
    return INT32(wide), INT32.overflows(wide)


@lru_cache
def _pools() -> Any:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit numpy's BLAS to one thread, in this whole process, while the body runs in any thread.

    The engine brings its own threads, and two pools would fight: on two cores shared with another
    job, a pool of two in each of our threads was sixty times slower. A child of fork keeps the
    limit if another thread of its parent was inside.
    """
    _limited.enter()
    try:
        yield
    finally:
        _limited.leave()


class _Limited:
    """The limit, for as long as one thread or more needs it."""

    def __init__(self) -> None:
        self._lock, self._users = ForkLock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        """Set it, for the first user."""
        with self._lock:
            if not self._users:
                self._limit = _pools().limit(limits=1)
            self._users += 1

    def leave(self) -> None:
        """Give back what was before, after the last."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_limited = _Limited()
