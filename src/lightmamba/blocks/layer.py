"""Base classes of a layer: its sizes, its integers, its arithmetic.

A kind of layers overrides what is not so by default. A layer is norm, mixer, residual addition; its
mixer begins with the projection ``in_proj`` and ends with ``out_proj``, whose input may go through
an online Hadamard transform.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.linear import UNIT, Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = [
    "UNIT_EXPONENT", "Arithmetic", "Limit", "Matrix", "Mixer", "Observe", "Rms", "Sizes",
    "hadamard_shift", "out_channels", "positive", "unit_rms",
]  # fmt: skip


Observe = Callable[[str, NDArray[Any]], None]
Limit = tuple[str, Any, int, int]  # what a number is, its values, the lowest and highest allowed
Rms = tuple[Ints, Ints]  # mantissa and j, each (vectors, norm groups)
UNIT_EXPONENT = -1  # of the values whose 1/rms is one


def positive(values: Mapping[str, object], *names: str) -> None:
    """Raise ValueError, in one sentence, unless all of these are whole numbers of at least 1."""
    for name in names:
        if not isinstance(value := values[name], int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")


@dataclass(frozen=True)
class Matrix:
    """A matrix of a layer, by its name in :class:`~lightmamba.numerics.model_formats.Formats`.

    ``columns`` are padded to whole groups of weights.
    """

    name: str
    rows: int
    columns: int
    blocks: int = 1  # equal runs of rows
    taken: int = 1  # how many of them a token takes
    added: bool = False  # whether their sums are added before they are rounded

    @property
    def read(self) -> int:
        """Rows that a token takes."""
        return self.rows // self.blocks * self.taken

    @property
    def summed(self) -> int:
        """Columns whose products are added in one sum."""
        return self.columns * (self.taken if self.added else 1)


class Sizes(ABC):
    """Sizes of one layer's mixer; a frozen dataclass of plain numbers, which it checks.

    Attributes
    ----------
    routed : bool
        Whether a router chooses blocks of its matrices for each token.
    """

    kind: ClassVar[str]
    routed: ClassVar[bool] = False

    @property
    def in_rows(self) -> int:
        """Rows of in_proj."""
        return sum(part.stop - part.start for part in self.sections().values())

    @property
    def entering_rows(self) -> int:
        """Rows that a token has of matrices that meet the residual stream."""
        return self.in_rows

    @property
    def taken(self) -> int:
        """Blocks of its matrices that a token takes."""
        return 1

    @property
    def chosen(self) -> int:
        """Number of blocks that a router chooses for a token."""
        return 0

    @property
    def block_rows(self) -> int:
        """Rows of in_proj of a block."""
        return self.in_rows

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Channels of the input of out_proj, of a block, without padding."""

    @property
    def out_groups(self) -> int:
        """Norm groups of the input of out_proj, each with its own 1/rms and its own padding."""
        return 1

    @property
    def out_normed(self) -> bool:
        """Whether the input of out_proj is divided by its root mean square."""
        return False

    @abstractmethod
    def sections(self) -> Mapping[str, slice]:
        """Rows of in_proj by name, in order."""

    def projection(self, formats: Formats, layer: int, name: str) -> Projection:
        """Arithmetic of one of its matrices, in the layer of this number."""
        return formats.of(layer, name)

    def matrices(self, d_model: int, formats: Formats) -> tuple[Matrix, ...]:
        """Matrices in the order in which a token meets them: a projection to the mixer, and back.

        A kind that has others names them; its instructions in hardware are those of
        :meth:`~lightmamba.blocks.in_hardware.InHardware.carried_out`.
        """
        return (
            Matrix("in_proj", self.in_rows, formats.in_channels(d_model)),
            Matrix("out_proj", d_model, out_channels(self, formats)),
        )


class Mixer(ABC):
    """Integers of one layer's mixer; tensors and numbers are fields (``blocks.tensors``).

    ``exponents`` has an exponent for each section of in_proj, by its name.
    """

    sizes: Any
    exponents: Any

    @property
    @abstractmethod
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""

    @property
    def norm_exponent(self) -> int:
        """Exponent of the values whose 1/rms multiplies the rows of out_proj."""
        return UNIT_EXPONENT

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""
        parts = self.sizes.sections()
        lengths = [rows.stop - rows.start for rows in parts.values()]
        return np.repeat([getattr(self.exponents, name) for name in parts], lengths)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield from ()


class Arithmetic:
    """Arithmetic of a layer between its projections, in exact integers.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Any, formats: Formats) -> None:
        self.mixer, self.sizes, self.transform = mixer, mixer.sizes, formats.transform

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """Advance the state; the input of out_proj and its 1/rms. Not for ``routed`` sizes.

        Parameters
        ----------
        rows : (batch, seqlen, in_rows)
            int16.
        state : {name: (batch, ...)}
            As the kind's ``state`` made it; changed in place. Of what grows, pages.
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
        raise NotImplementedError

    @staticmethod
    def observables(
        sizes: Any,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Names and values of a layer that has just run, except those of every kind.

        ``arrays`` are those of the kernels' work, (batch, seqlen, ...), ``state`` (batch, ...);
        ``position`` (batch,) is from before these tokens.
        """
        yield from ()

    def show(
        self,
        observe: Observe | None,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> None:
        """Call ``observe`` with all of them, and with the input of out_proj."""
        if observe is not None:
            for name, value in self.observables(self.sizes, arrays, state, position):
                observe(name, value)
            observe("hadamard.out", arrays["mixed"])

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        """Transform each group of (vectors, out_dim) to channels of out_proj, and overflows."""
        return self.transform(x, self.sizes.out_groups, self.mixer.exponents.hadamard_shift)


def unit_rms(vectors: int) -> Rms:
    """1/rms of one, (vectors, 1), for kinds without a norm in front of out_proj."""
    mantissa, j = UNIT
    return np.full((vectors, 1), mantissa), np.full((vectors, 1), j)


def out_channels(sizes: Sizes, formats: Formats) -> int:
    """Columns of out_proj: each norm group zero-padded to whole groups of weights."""
    return sizes.out_groups * formats.transform.padded(sizes.out_dim // sizes.out_groups)


def hadamard_shift(sizes: Sizes, formats: Formats) -> int:
    """Right shift after the online transform that keeps 24 bits of healthy values."""
    order = formats.transform.size(sizes.out_dim // sizes.out_groups)
    return max(0, math.ceil(math.log2(order)) - 8)
