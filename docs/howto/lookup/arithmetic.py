"""A lookup in exact integers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.layer import Observe, Rms, hadamard_shift, unit_rms
from lightmamba.blocks.tensors import exponent, number, tensor
from lightmamba.numerics.formats import INT24
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["Arithmetic", "Exponents", "Integers", "Mixer", "Sizes"]

PER_WORD = 4  # values of 16 bits in a word of memory
# Random layers: int16 scores up to 8, values up to 2, and a typical product of both.
SCORE_EXP, VALUE_EXP, SHIFT, PRODUCT = -12, -14, 10, 2.5


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "lookup"

    entries: int
    channels: int

    def __post_init__(self) -> None:
        if not isinstance(self.entries, int) or self.entries < 1:
            raise ValueError(f"entries must be a number from 1 on, not {self.entries!r}")
        if not isinstance(self.channels, int) or self.channels < 1 or self.channels % PER_WORD:
            raise ValueError(f"channels must be a multiple of {PER_WORD}, not {self.channels!r}")

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.channels

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name."""
        return {"score": slice(0, self.entries)}


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    score: int = exponent()  # int16 rows of in_proj
    value: int = exponent()  # of the table
    shift: int = number(0, 15)  # right shift of the product of score and value
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer(layer.Mixer):
    """Everything of a layer but its two projections: the table and the exponents."""

    sizes: Sizes
    exponents: Exponents
    table: NDArray[np.int16] = tensor("int16", "entries", "channels")

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        e = self.exponents
        return e.score + e.value + e.shift + e.hadamard_shift


class Arithmetic(layer.Arithmetic):
    """Arithmetic of a layer between its projections."""

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        e, (batch, seqlen) = self.mixer.exponents, rows.shape[:2]
        index = rows.argmax(axis=-1)  # of equal scores the first one wins
        score = np.take_along_axis(rows, index[..., None], axis=-1)
        wide = round_shift(score.astype(np.int64) * self.mixer.table[index], e.shift)
        out = INT24(wide)
        mixed, lost_mixed = self.hadamard(out.reshape(batch * seqlen, -1))
        lost.update({"lookup": INT24.overflows(wide), "hadamard": lost_mixed})
        if observe is not None:
            observe("lookup.out", out)
            observe("hadamard.out", mixed.reshape(batch, seqlen, -1))
        return mixed, unit_rms(len(mixed))


class Integers(base.Integers):
    """Numbers and arithmetic of a lookup, which keeps nothing of a sequence."""

    losses = ("lookup", "hadamard")

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        return self.mixed(sizes, formats, PRODUCT, SCORE_EXP + VALUE_EXP + SHIFT)

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        table = rng.integers(-(1 << 15), 1 << 15, (sizes.entries, sizes.channels), np.int16)
        return Mixer(
            sizes, Exponents(SCORE_EXP, VALUE_EXP, SHIFT, hadamard_shift(sizes, formats)), table
        )
