"""An MLP as the kernels take it: the structs of ``types.hpp``, and single phases."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mlp.arithmetic import Arithmetic
from lightmamba.blocks.mlp.quantized import Mixer
from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.blocks.phases import Phases
from lightmamba.native.structs import fields, header
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Compiled", "WorkStruct", "describe", "fits", "observables", "transform_shift", "work"]

HIDDEN = 0  # phase


class Struct(ctypes.Structure):
    """Sizes and static numbers of one layer."""

    _fields_ = fields("Mlp", path=header("mlp"))


class WorkStruct(ctypes.Structure):
    """Nothing but what every kind has."""

    _fields_ = fields("MlpWork", path=header("mlp"))


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
    c = mixer.sizes
    return Struct(tables=tables, in_rows=c.in_rows, d_hidden=c.d_hidden, gated=c.gated,
                  silu=mixer.silu, shift=mixer.shift)  # fmt: skip


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
    yield "mlp.hidden", arrays["weighted"]


class Compiled(Arithmetic):
    """The operations of :class:`~lightmamba.blocks.mlp.arithmetic.Arithmetic`, compiled."""

    def __init__(self, mixer: Mixer, formats: Formats, phases: Phases) -> None:
        super().__init__(mixer, formats)
        self.phases = phases

    def hidden(self, rows: Ints) -> tuple[Ints, int]:
        run = self.phases.begin(1, len(rows))
        run.arrays["rows"][:] = rows
        lost = run(HIDDEN)
        return run.arrays["weighted"], lost["mlp.hidden"]

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        run = self.phases.begin(1, len(x))
        run.arrays["weighted"][:] = x
        lost = run(None)
        return run.arrays["mixed"], lost["hadamard"]
