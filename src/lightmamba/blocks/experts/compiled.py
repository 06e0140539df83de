"""A mixture of experts as the kernels take it: the structs of ``kernels.hpp``."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lightmamba.blocks import base
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.experts.arithmetic import Mixer, Sizes
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats

__all__ = ["Kernels", "Struct"]


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Experts", path=header("experts"))


class Work(ctypes.Structure):
    """Pairs of a vector and a block that it takes, and the choice that made them."""

    _fields_ = fields("ExpertsWork", path=header("experts"))


class Kernels(base.Kernels):
    """A mixture of experts of any size."""

    Work = Work

    def describe(
        self,
        mixer: Mixer,
        formats: Formats,
        tables: int,
        at: Mapping[str, int],
        keep: Callable[[Any], int],
    ) -> Struct:
        c = mixer.sizes
        return Struct(
            tables=tables, n_experts=c.n_experts, top_k=c.top_k, n_shared=c.n_shared,
            d_hidden=c.d_hidden, gated=c.gated, silu=mixer.silu, shift=mixer.shift,
            score_shift=mixer.score_shift, softmax=c.scoring == "softmax", normed=c.normed,
            choice_bias=keep(mixer.choice_bias),
        )  # fmt: skip

    def work(self, sizes: Sizes, formats: Formats) -> Arrays:
        c, i32, i64 = sizes, np.int32, np.int64
        return {
            "router_rows": (np.int16, (c.n_experts,)), "scores": (i32, (c.n_experts,)),
            **dict.fromkeys(("blocks", "weights", "pair", "share"), (i32, (c.taken,))),
            "owner": (i64, (c.taken,)), "rms": (i32, (c.taken,)), "rms_shift": (i32, (c.taken,)),
            "hidden": (i32, (c.taken, c.d_hidden)), "first": (i64, (c.blocks + 1,)),
            "used": (i64, (c.blocks + 1,)),
        }  # fmt: skip
