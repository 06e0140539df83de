"""A Mamba2 mixer as the kernels take it: the structs of ``kernels.hpp``."""

import ctypes
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.layer import Rms
from lightmamba.blocks.mamba2.arithmetic import NORM, updates
from lightmamba.blocks.mamba2.quantized import (
    TILE,
    Constants,
    Mixer,
    Sizes,
    bc_block,
    padded_state,
    ssm_step,
    x_block,
)
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats

__all__ = ["Kernels", "Struct"]

Array = NDArray[Any]
ARRAYS = ("conv_in_shift", "conv_weight", "conv_bias", "conv_out_shift", "conv_silu_shift",
          "dt_bias", "A", "A_shift", "D", "gate_weight")  # fmt: skip
NUMBERS = ("frame", "y", "D_shift", "z_silu", "gate", "weighted")


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Mamba2", path=header("mamba2"))


class Work(ctypes.Structure):
    """Addresses of the arrays between the projections."""

    _fields_ = fields("Mamba2Work", path=header("mamba2"))


class Kernels(base.Kernels):
    """Mamba2 with up to 16 taps."""

    Work = Work
    phases = 2

    def fits(self, sizes: Sizes) -> bool:
        return sizes.d_conv <= 16

    def describe(
        self,
        mixer: Mixer,
        formats: Formats,
        tables: int,
        at: Mapping[str, int],
        keep: Callable[[Any], int],
    ) -> Struct:
        c, k, ssm = mixer.sizes, Constants.of(mixer), ssm_step(mixer.sizes, formats)
        return Struct(
            tables=tables, in_rows=c.in_rows, d_inner=c.d_inner, conv_dim=c.conv_dim,
            d_conv=c.d_conv, nheads=c.nheads, headdim=c.headdim, ngroups=c.ngroups,
            d_state=c.d_state, padded_state=padded_state(c, formats), state_block=ssm.block,
            state_bits=ssm.bits, dithered=ssm.rounding == "dither", x_block=x_block(c).block,
            bc_block=bc_block(c, formats).block, tile_rows=math.gcd(TILE, c.headdim),
            eps_gate=mixer.eps_gate, dt_low=mixer.dt_low, dt_high=mixer.dt_high,
            **{f"{name}_at": start for name, start in at.items()},
            **{name: keep(getattr(k, name)) for name in ARRAYS},
            **{name: int(getattr(k, name)) for name in NUMBERS},
        )  # fmt: skip

    def work(self, sizes: Sizes, formats: Formats) -> Arrays:
        c, found = sizes, updates(sizes, formats)
        i16, i32, i64 = np.int16, np.int32, np.int64
        return {
            "conv": (i16, (c.conv_dim,)), **found, "C": found["B"], "C_exp": found["B_exp"],
            "y": (i32, (c.d_inner,)), "g": (i32, (c.d_inner,)), "squares": (i64, (c.nheads,)),
        }  # fmt: skip

    def rms(self, mixer: Mixer, arrays: Mapping[str, Array]) -> Rms:
        return NORM(arrays["g"], 0, mixer.sizes.ngroups, mixer.eps_gate)
