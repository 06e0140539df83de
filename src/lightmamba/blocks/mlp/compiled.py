"""An MLP as the kernels take it: the structs of ``kernels.hpp``, and single phases."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base
from lightmamba.blocks.mlp.arithmetic import Arithmetic, Mixer, Sizes
from lightmamba.blocks.phases import ByPhases
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Compiled", "Kernels", "Struct"]

HIDDEN = 0  # phase


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Mlp", path=header("mlp"))


class Compiled(ByPhases, Arithmetic):
    """The operations of ``Arithmetic``, compiled."""

    def hidden(self, rows: Ints) -> tuple[Ints, int]:
        run = self.phases.begin(1, len(rows))
        run.arrays["rows"][:] = rows
        lost = run(HIDDEN)
        return run.arrays["weighted"], lost["mlp.hidden"]


class Kernels(base.Kernels):
    """An MLP of any size."""

    def describe(
        self,
        mixer: Mixer,
        formats: Formats,
        tables: int,
        at: Mapping[str, int],
        keep: Callable[[Any], int],
    ) -> Struct:
        c = mixer.sizes
        return Struct(tables=tables, in_rows=c.in_rows, d_hidden=c.d_hidden, gated=c.gated,
                      silu=mixer.silu, shift=mixer.shift)  # fmt: skip

    def observables(
        self,
        sizes: Sizes,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        yield "mlp.hidden", arrays["weighted"]
