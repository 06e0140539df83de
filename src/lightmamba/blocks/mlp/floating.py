"""A floating-point MLP (torch), and its integers by the ranges that calibration saw."""

from collections.abc import Mapping

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.floating import BaseMixer, NoCache, row_exponents
from lightmamba.blocks.layer import hadamard_shift
from lightmamba.blocks.mlp import arithmetic
from lightmamba.numerics.formats import HEADROOM_WIDE, exponent_for
from lightmamba.numerics.model_formats import Formats

__all__ = ["Mixer", "lower"]


class Mixer(BaseMixer):
    """out_proj(silu(a)·b), or out_proj(max(a, 0)²)."""

    def empty_cache(self, batch: int) -> NoCache:
        """Cache without values."""
        return NoCache(batch)

    def divide_output(self, scale: Tensor) -> Tensor:
        """Divide the input of out_proj by ``scale`` (d_hidden,), in the rows that make it."""
        if self.sizes.gated:
            self.scale_rows(self.sizes.sections()["b"], 1 / scale)
        else:
            self.scale_rows(self.sizes.sections()["a"], scale.rsqrt())
        return scale

    def forward(self, u: Tensor, cache: NoCache) -> tuple[Tensor, NoCache]:
        """Map (..., d_model) to the same shape."""
        rows = self.begin(u)
        if self.sizes.gated:
            a, b = rows.chunk(2, -1)
            hidden = F.silu(a) * b
        else:
            hidden = F.relu(rows).square()
        return self.finish(self._see("hidden", hidden)), cache


def lower(
    mixer: Mixer, formats: Formats, seen: Mapping[str, NDArray[np.float64]]
) -> arithmetic.Mixer:
    """Everything of a layer but its two projections; Mamba2's ``lower`` has the parameters."""
    sizes = mixer.sizes
    rows = row_exponents(sizes, seen)
    hidden = exponent_for(float(seen["hidden"].max()), 24, HEADROOM_WIDE)
    found = {"b": rows["a"], **rows, "hidden": hidden}
    shift = hadamard_shift(sizes, formats)
    return arithmetic.Mixer(sizes, arithmetic.Exponents(**found, hadamard_shift=shift))
