"""A Mamba2 mixer as the kernels take it: the structs of ``kernels.hpp``."""

import ctypes
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.layer import Rms
from lightmamba.blocks.mamba2.arithmetic import NORM
from lightmamba.blocks.mamba2.quantized import (
    TILE,
    Constants,
    Mixer,
    Sizes,
    bc_block,
    natural,
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
WORK = ("conv", "x", "x_exp", "B", "B_exp", "C", "C_exp", "dt", "dt_shift", "decay", "y", "g",
        "squares")  # fmt: skip


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
        c, wide, block = sizes, x_block(sizes).block, bc_block(sizes, formats).block
        x_blocks, blocks = -(-c.headdim // wide), -(-c.d_state // block)
        i8, i16, i32, i64 = np.int8, np.int16, np.int32, np.int64
        return {
            "conv": (i16, (c.conv_dim,)),
            "x": (i8, (c.nheads, x_blocks * wide)), "x_exp": (i8, (c.nheads, x_blocks)),
            "B": (i8, (c.ngroups, blocks * block)), "B_exp": (i8, (c.ngroups, blocks)),
            "C": (i8, (c.ngroups, blocks * block)), "C_exp": (i8, (c.ngroups, blocks)),
            "dt": (i32, (c.nheads,)), "dt_shift": (i32, (c.nheads,)), "decay": (i32, (c.nheads,)),
            "y": (i32, (c.d_inner,)), "g": (i32, (c.d_inner,)), "squares": (i64, (c.nheads,)),
        }  # fmt: skip

    def rms(self, mixer: Mixer, arrays: Mapping[str, Array]) -> Rms:
        return NORM(arrays["g"], 0, mixer.sizes.ngroups, mixer.eps_gate)

    def observables(
        self,
        sizes: Sizes,
        arrays: Mapping[str, Array],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, Array]]:
        yield "conv.out", arrays["conv"]
        yield "conv.state", state["conv"]
        for name in ("x", "x_exp", "B", "B_exp", "C", "C_exp", "dt", "dt_shift", "decay"):
            yield f"ssm.{name}", arrays[name]
        yield "ssm.h", natural(state["h"])
        yield "ssm.h_exp", natural(state["h_exp"])
        y = arrays["y"]
        yield "ssm.y", y.reshape(*y.shape[:2], sizes.nheads, sizes.headdim)
        yield "gate.g", arrays["g"]
        yield "gate.weighted", arrays["weighted"]
