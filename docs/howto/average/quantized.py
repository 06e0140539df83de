"""The integers of an average: it has exponents only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightmamba.blocks.protocols import UNIT_EXPONENT, Limit
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.primitives import Ints

from .sizes import Sizes

__all__ = ["Exponents", "Mixer"]


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    v: int = exponent()  # int16 rows of in_proj
    shift: int = number(0, 17)  # right shift of the sum of all values
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer:
    """Everything of a layer but its two projections."""

    sizes: Sizes
    exponents: Exponents

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.v + self.exponents.shift + self.exponents.hadamard_shift

    @property
    def norm_exponent(self) -> int:
        """Exponent of the unit that replaces 1/rms."""
        return UNIT_EXPONENT

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""
        return np.full(self.sizes.in_rows, self.exponents.v)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on: none."""
        yield from ()
