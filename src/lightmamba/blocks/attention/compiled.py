"""An attention mixer as the kernels take it: the structs of ``kernels.hpp``."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from lightmamba.blocks import base
from lightmamba.blocks.attention.arithmetic import Mixer, numerics
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats

__all__ = ["Kernels", "Struct"]


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Attention", path=header("attention"))


class Kernels(base.Kernels):
    """Attention of any size."""

    phases = 2

    def describe(
        self,
        mixer: Mixer,
        formats: Formats,
        tables: int,
        at: Mapping[str, int],
        keep: Callable[[Any], int],
    ) -> Struct:
        c, block = mixer.sizes, numerics(mixer.sizes).block
        return Struct(
            tables=tables, in_rows=c.in_rows, n_heads=c.n_heads, n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim, block=block, blocks=-(-c.head_dim // block), score=mixer.score,
            mean=mixer.mean, **{f"{name}_at": start for name, start in at.items()},
        )  # fmt: skip
