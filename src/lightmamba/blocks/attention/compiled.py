"""An attention mixer as the kernels take it: the structs of ``types.hpp``, and single phases."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.attention.arithmetic import Arithmetic, Pages, last
from lightmamba.blocks.attention.quantized import Mixer
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.blocks.attention.state import numerics
from lightmamba.blocks.phases import Phases
from lightmamba.native.structs import fields, header
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Compiled", "WorkStruct", "describe", "fits", "observables", "transform_shift", "work"]

STORE, ATTEND = range(2)  # phases
KEPT = ("k", "k_exp", "v", "v_exp")


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Attention", path=header("attention"))


class WorkStruct(ctypes.Structure):
    """Nothing but what every kind has."""

    _fields_ = fields("AttentionWork", path=header("attention"))


def fits(sizes: Sizes) -> bool:
    """The kernels take any size."""
    return True


def transform_shift(mixer: Mixer) -> int:
    """Right shift after the online transform."""
    return mixer.exponents.hadamard_shift


def describe(
    mixer: Mixer, formats: Formats, tables: int, at: Mapping[str, int], keep: Callable[[Any], int]
) -> Struct:
    """Struct of one layer; see the other kinds' ``describe``."""
    c, block = mixer.sizes, numerics(mixer.sizes).block
    return Struct(
        tables=tables, in_rows=c.in_rows, n_heads=c.n_heads, n_kv_heads=c.n_kv_heads,
        head_dim=c.head_dim, block=block, blocks=-(-c.head_dim // block), score=mixer.score,
        mean=mixer.mean, **{f"{name}_at": start for name, start in at.items()},
    )  # fmt: skip


def work(sizes: Sizes, formats: Formats) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape, per vector, of what only this kind has between the projections: nothing."""
    return {}


def observables(
    sizes: Sizes,
    arrays: Mapping[str, NDArray[Any]],
    state: Mapping[str, Any],
    position: NDArray[np.int64],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and values of a layer that has just run, but for those that every kind has."""
    for name in KEPT:
        yield f"attention.{name}", last(state[name], position, arrays["rows"].shape[1])
    yield "attention.mean", arrays["weighted"]


class Compiled(Arithmetic):
    """The operations of :class:`~lightmamba.blocks.attention.arithmetic.Arithmetic`, compiled."""

    def __init__(self, mixer: Mixer, formats: Formats, phases: Phases) -> None:
        super().__init__(mixer, formats)
        self.phases = phases

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

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        run = self.phases.begin(1, len(x))
        run.arrays["weighted"][:] = x
        lost = run(None)
        return run.arrays["mixed"], lost["hadamard"]
