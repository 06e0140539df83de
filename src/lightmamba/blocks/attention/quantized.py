"""The integers of an attention mixer: it has exponents only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.blocks.protocols import UNIT_EXPONENT, Limit
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.primitives import Ints

__all__ = ["Exponents", "Mixer"]


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    q: int = exponent()  # int16 rows of in_proj; q·k is an exponent of two
    k: int = exponent()
    v: int = exponent()
    mean: int = exponent()  # int24, mean of v
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer:
    """Everything of a layer but its two projections."""

    sizes: Sizes
    exponents: Exponents

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.mean + self.exponents.hadamard_shift

    @property
    def norm_exponent(self) -> int:
        """Exponent of the unit that replaces 1/rms."""
        return UNIT_EXPONENT

    @property
    def score(self) -> int:
        """Right shift of a sum of products to a score with 16 fractional bits."""
        return -(self.exponents.q + self.exponents.k + 16)

    @property
    def mean(self) -> int:
        """Right shift of a mean of v to the output."""
        return self.exponents.mean - self.exponents.v

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""
        parts = self.sizes.sections()
        lengths = [rows.stop - rows.start for rows in parts.values()]
        return np.repeat([getattr(self.exponents, name) for name in parts], lengths)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield "the shift of the scores", self.score, -20, 62
        yield "the shift of the mean", self.mean, -31, 31
