"""The engine's layers in the checkpoint's own basis and units, for comparison by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import Engine
from lightmamba.numerics.hadamard import random_rotation
from lightmamba.quantization.recipe import Recipe, Rotate
from lightmamba.text.model import Model

__all__ = ["traced"]


def traced(model: Model) -> Engine:
    """The engine of a model, which shows its layers if the file tells in which basis they are."""
    if not {"recipe", "seed"} <= model.quantized.origin.keys():
        return model.engine
    return _Traced(model.quantized, threads=model.threads)


class _Traced(Engine):
    """An engine that hands out its residual stream, turned back if the recipe rotated it."""

    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.float64]]]:
        """Residual stream after every layer, (batch, seqlen, d_model); counts no saturation."""
        origin, unit = self.model.origin, 2.0**self.model.residual_exp
        recipe = Recipe.parse(origin["recipe"], "the file's recipe")
        rotated = any(isinstance(step, Rotate) for step in recipe.passes)
        back = random_rotation(self.config.d_model, origin["seed"]).T if rotated else None
        out: list[tuple[str, NDArray[np.float64]]] = []

        def observe(name: str, value: NDArray[Any]) -> None:
            if name.endswith(".residual"):
                real = value.reshape(*ids.shape, -1) * unit
                out.append((name, real if back is None else real @ back))

        counted = self.counters.copy()
        self.forward(ids, self.empty_state(len(ids)), observe=observe)
        self.counters = counted
        return out
