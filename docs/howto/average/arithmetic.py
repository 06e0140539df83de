"""An average in exact integers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.layer import Observe, Rms, hadamard_shift, unit_rms
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.formats import INT24
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = ["Arithmetic", "Exponents", "Integers", "Mixer", "Sizes"]

STEP = 32  # channels of 16 bits that fill the beats of any memory port
# Random layers: int16 values up to 8, and a typical sum of some tens of them.
V_EXP, SHIFT, SUM = -12, 2, 6.0


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "average"

    channels: int

    def __post_init__(self) -> None:
        if not isinstance(self.channels, int) or self.channels < 1 or self.channels % STEP:
            raise ValueError(f"channels must be a multiple of {STEP}, not {self.channels!r}")

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.channels

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name."""
        return {"v": slice(0, self.channels)}


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    v: int = exponent()  # int16 rows of in_proj
    shift: int = number(0, 17)  # right shift of the sum of all values
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer(layer.Mixer):
    """Everything of a layer but its two projections: exponents only."""

    sizes: Sizes
    exponents: Exponents

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.v + self.exponents.shift + self.exponents.hadamard_shift


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
        sums = np.empty(rows.shape, np.int64)
        for n in range(batch):
            pages, first = state["values"][n], int(position[n])
            at = first + np.arange(seqlen)
            pages[at // PAGE, at % PAGE] = rows[n]
            before = pages.reshape(-1, rows.shape[-1])[:first].sum(0, dtype=np.int64)
            sums[n] = before + np.cumsum(rows[n], axis=0)
        wide = round_shift(sums, e.shift)
        out = INT24(wide)
        mixed, lost_mixed = self.hadamard(out.reshape(batch * seqlen, -1))
        lost.update({"average": INT24.overflows(wide), "hadamard": lost_mixed})
        if observe is not None:
            observe("average.out", out)
            observe("hadamard.out", mixed.reshape(batch, seqlen, -1))
        return mixed, unit_rms(len(mixed))


class Integers(base.Integers):
    """Numbers and arithmetic of an average: the values of every token stay."""

    losses = ("average", "hadamard")

    def tokens(self, sizes: Sizes, formats: Formats) -> Arrays:
        return {"values": (np.int16, (sizes.channels,))}

    def bytes_per_token(self, sizes: Sizes, formats: Formats) -> dict[str, int]:
        return {"values": 2 * sizes.channels}

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        return self.mixed(sizes, formats, SUM, V_EXP + SHIFT)

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        return Mixer(sizes, Exponents(V_EXP, SHIFT, hadamard_shift(sizes, formats)))
