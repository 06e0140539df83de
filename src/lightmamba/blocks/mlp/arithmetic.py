"""An MLP in exact integers, by the numerics objects themselves."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.layer import Limit, Observe, Rms, hadamard_shift, unit_rms
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.mlp import GatedSilu, SquaredRelu
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.tables import Q5_11

__all__ = ["Arithmetic", "Exponents", "HiddenValues", "Integers", "Mixer", "Sizes"]

ACTIVATIONS = ("silu", "relu2")
GATED, SQUARED = GatedSilu(), SquaredRelu()
# Random layers: int16 rows up to 8, int24 hidden values up to 2,048, and a typical one.
ROWS_EXP, HIDDEN_EXP, HIDDEN = -12, -12, 0.6


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "mlp"

    d_hidden: int  # hidden channels
    activation: str = "silu"  # silu(a)·b of two projections, or relu2: max(a, 0)² of one

    def __post_init__(self) -> None:
        layer.positive(vars(self), "d_hidden")
        if self.activation not in ACTIVATIONS:
            known = " or ".join(ACTIVATIONS)
            raise ValueError(f"activation must be {known}, not {self.activation!r}")

    @property
    def gated(self) -> bool:
        """Whether a second projection multiplies the activation."""
        return self.activation == "silu"

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.d_hidden

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name: a goes through the activation."""
        n = self.d_hidden
        return {"a": slice(0, n), "b": slice(n, 2 * n)} if self.gated else {"a": slice(0, n)}


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    a: int = exponent()  # int16 rows of in_proj
    b: int = exponent()  # the same; without a gate, that of a again
    hidden: int = exponent()  # int24
    hadamard_shift: int = number(0, 31)  # right shift after the transform


class HiddenValues(layer.Mixer):
    """Hidden values of an MLP, or of a block of experts, from their exponents."""

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        exponent: int = self.exponents.hidden + self.exponents.hadamard_shift
        return exponent

    @property
    def silu(self) -> int:
        """Right shift of a to the sigmoid's input."""
        shift: int = Q5_11 - self.exponents.a
        return shift

    @property
    def shift(self) -> int:
        """Right shift of a product to the hidden values."""
        shift: int = self.exponents.hidden - self.exponents.a - self.exponents.b
        return shift

    def hidden(self, rows: Ints) -> tuple[Ints, int]:
        """Hidden values of (vectors, rows of a and b), and overflows."""
        n = self.sizes.d_hidden
        if self.sizes.gated:
            return GATED(rows[:, :n], rows[:, n:], self.silu, self.shift)
        return SQUARED(rows, self.shift)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield "the shift of a to the sigmoid's input", self.silu, -31, 62
        yield "the shift of the hidden values", self.shift, -20, 62


@dataclass(frozen=True)
class Mixer(HiddenValues):
    """Everything of a layer but its two projections: exponents only."""

    sizes: Sizes
    exponents: Exponents


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
        lead = rows.shape[:2]
        hidden, lost_hidden = self.hidden(rows.reshape(-1, rows.shape[-1]))
        mixed, lost_mixed = self.hadamard(hidden)
        lost.update({"mlp.hidden": lost_hidden, "hadamard": lost_mixed})
        arrays = {"weighted": hidden.reshape(*lead, -1), "mixed": mixed.reshape(*lead, -1)}
        self.show(observe, arrays, state, position)
        return mixed, unit_rms(len(mixed))

    @staticmethod
    def observables(
        sizes: Sizes,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        yield "mlp.hidden", arrays["weighted"]

    def hidden(self, rows: Ints) -> tuple[Ints, int]:
        """Hidden values of (vectors, in_rows), and overflows."""
        found: tuple[Ints, int] = self.mixer.hidden(rows)
        return found


class Integers(base.Integers):
    """Numbers and arithmetic of an MLP, which leaves no state behind."""

    losses = ("mlp.hidden", "hadamard")

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        return self.mixed(sizes, formats, HIDDEN, HIDDEN_EXP)

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        shift = hadamard_shift(sizes, formats)
        return Mixer(sizes, Exponents(ROWS_EXP, ROWS_EXP, HIDDEN_EXP, shift))
