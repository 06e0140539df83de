"""An MLP in exact integers, by the numerics objects themselves."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mlp.quantized import Mixer
from lightmamba.blocks.protocols import Observe, Rms, unit_rms
from lightmamba.numerics.mlp import GatedSilu, SquaredRelu
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["LOSSES", "Arithmetic"]

LOSSES = ("mlp.hidden", "hadamard")
GATED, SQUARED = GatedSilu(), SquaredRelu()
Array = NDArray[Any]


class Arithmetic:
    """Arithmetic of a layer between its projections.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Mixer, formats: Formats) -> None:
        self.mixer, self.transform = mixer, formats.transform

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Array],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """See :class:`lightmamba.blocks.protocols.Arithmetic`."""
        lead = rows.shape[:2]
        hidden, lost_hidden = self.hidden(rows.reshape(-1, rows.shape[-1]))
        mixed, lost_mixed = self.hadamard(hidden)
        lost.update({"mlp.hidden": lost_hidden, "hadamard": lost_mixed})
        if observe is not None:
            observe("mlp.hidden", hidden.reshape(*lead, -1))
            observe("hadamard.out", mixed.reshape(*lead, -1))
        return mixed, unit_rms(len(mixed))

    def hidden(self, rows: Ints) -> tuple[Ints, int]:
        """Hidden values of (vectors, in_rows), and overflows."""
        m, n = self.mixer, self.mixer.sizes.d_hidden
        if m.sizes.gated:
            return GATED(rows[:, :n], rows[:, n:], m.silu, m.shift)
        return SQUARED(rows, m.shift)

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        """Transform (vectors, d_hidden) to (vectors, channels of out_proj), and overflows."""
        return self.transform(x, 1, self.mixer.exponents.hadamard_shift)
