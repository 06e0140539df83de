"""The integers of an MLP: it has exponents only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.blocks.protocols import UNIT_EXPONENT, Limit
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.tables import Q5_11

__all__ = ["Exponents", "Mixer"]


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    a: int = exponent()  # int16 rows of in_proj
    b: int = exponent()  # the same; without a gate, that of a again
    hidden: int = exponent()  # int24
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer:
    """Everything of a layer but its two projections."""

    sizes: Sizes
    exponents: Exponents

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.hidden + self.exponents.hadamard_shift

    @property
    def norm_exponent(self) -> int:
        """Exponent of the unit that replaces 1/rms."""
        return UNIT_EXPONENT

    @property
    def silu(self) -> int:
        """Right shift of a to the sigmoid's input."""
        return Q5_11 - self.exponents.a

    @property
    def shift(self) -> int:
        """Right shift of a product to the hidden values."""
        return self.exponents.hidden - self.exponents.a - self.exponents.b

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""
        parts = [getattr(self.exponents, name) for name in self.sizes.sections()]
        return np.repeat(parts, self.sizes.d_hidden)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield "the shift of a to the sigmoid's input", self.silu, -31, 62
        yield "the shift of the hidden values", self.shift, -20, 62
