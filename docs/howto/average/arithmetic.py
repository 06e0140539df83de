"""An average in exact integers."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.protocols import Observe, Rms, unit_rms
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.formats import INT24
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints, round_shift

from .quantized import Mixer

__all__ = ["LOSSES", "Arithmetic"]

LOSSES = ("average", "hadamard")


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
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """See :class:`lightmamba.blocks.protocols.Arithmetic`."""
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
        mixed, lost_mixed = self.transform(out.reshape(batch * seqlen, -1), 1, e.hadamard_shift)
        lost.update({"average": INT24.overflows(wide), "hadamard": lost_mixed})
        if observe is not None:
            observe("average.out", out)
            observe("hadamard.out", mixed.reshape(batch, seqlen, -1))
        return mixed, unit_rms(len(mixed))
