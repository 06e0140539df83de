"""An attention mixer as the kernels take it: the structs of ``kernels.hpp``, and single phases."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base
from lightmamba.blocks.attention.arithmetic import Arithmetic, Mixer, Pages, Sizes, last, numerics
from lightmamba.blocks.phases import ByPhases
from lightmamba.native.structs import fields, header
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Compiled", "Kernels", "Struct"]

STORE, ATTEND = range(2)  # phases
KEPT = ("k", "k_exp", "v", "v_exp")


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Attention", path=header("attention"))


class Compiled(ByPhases, Arithmetic):
    """The operations of ``Arithmetic``, compiled."""

    def attend(
        self, rows: Ints, state: Mapping[str, Pages], position: NDArray[np.int64]
    ) -> tuple[Ints, dict[str, int]]:
        batch, seqlen = rows.shape[:2]
        run = self.phases.begin(batch, seqlen, position)
        for name in KEPT:
            for row in range(batch):
                pages = -(-(int(position[row]) + seqlen) // PAGE)
                run.state[name][row][:pages] = state[name][row][:pages]
        run.arrays["rows"][:] = rows.reshape(batch * seqlen, -1)
        lost = run(ATTEND)
        mean = run.arrays["weighted"].reshape(batch, seqlen, -1)
        return mean, {name: lost[name] for name in ("attention.score", "attention.mean")}


class Kernels(base.Kernels):
    """Attention of any size."""

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

    def observables(
        self,
        sizes: Sizes,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        for name in KEPT:
            yield f"attention.{name}", last(state[name], position, arrays["rows"].shape[1])
        yield "attention.mean", arrays["weighted"]
