"""Protocols that a layer kind implements for the rest of the project."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.sizes import Sizes
from lightmamba.numerics.linear import UNIT
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = [
    "UNIT_EXPONENT", "Arithmetic", "Limit", "Mixer", "Observe", "Rms", "out_channels", "unit_rms",
]  # fmt: skip


Observe = Callable[[str, NDArray[Any]], None]
Limit = tuple[str, Any, int, int]  # what a number is, its values, the lowest and highest allowed
Rms = tuple[Ints, Ints]  # mantissa and j, each (vectors, norm groups)
UNIT_EXPONENT = -1  # of the values whose 1/rms is one


class Mixer(Protocol):
    """Integers of one layer's mixer; tensors and numbers are fields (``blocks.tensors``)."""

    @property
    def sizes(self) -> Sizes:
        """Sizes of the layer."""

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""

    @property
    def norm_exponent(self) -> int:
        """Exponent of the values whose 1/rms multiplies the rows of out_proj."""

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""


class Arithmetic(Protocol):
    """Arithmetic of one mixer between in_proj and out_proj, in exact integers."""

    def run(
        self,
        rows: Ints,
        state: Mapping[str, NDArray[Any]],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """Advance the state; the input of out_proj and its 1/rms.

        Parameters
        ----------
        rows : (batch, seqlen, in_rows)
            int16.
        state : {name: (batch, ...)}
            As the kind's ``state`` made it; changed in place.
        position : (batch,)
            Tokens that each sequence has seen.
        lost
            Counts of what saturated, by kind; added to.
        observe
            Is called with names and values of everything in between.

        Returns
        -------
        values : (vectors, channels of out_proj) int32
        rms : mantissa and j, each (vectors, norm groups)
        """


def unit_rms(vectors: int) -> Rms:
    """1/rms of one, (vectors, 1), for kinds without a norm in front of out_proj."""
    mantissa, j = UNIT
    return np.full((vectors, 1), mantissa), np.full((vectors, 1), j)


def out_channels(sizes: Sizes, formats: Formats) -> int:
    """Columns of out_proj: each norm group zero-padded to whole groups of weights."""
    return sizes.out_groups * formats.transform.padded(sizes.out_dim // sizes.out_groups)
