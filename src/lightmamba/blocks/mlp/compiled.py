"""An MLP as the kernels take it: the structs of ``kernels.hpp``."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from lightmamba.blocks import base
from lightmamba.blocks.mlp.arithmetic import Mixer
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats

__all__ = ["Kernels", "Struct"]


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Mlp", path=header("mlp"))


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
