"""The engine's layers in the checkpoint's own basis and units, for comparison by layer."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import Engine
from lightmamba.numerics.hadamard import random_rotation
from lightmamba.quantization.recipe import Recipe, Rotate

__all__ = ["TracedEngine", "knows_its_basis"]


def knows_its_basis(engine: Engine) -> bool:
    """Whether the file says by which recipe and seed it was made."""
    return {"recipe", "seed"} <= engine.model.origin.keys()


class TracedEngine:
    """An engine that hands out its residual stream, turned back if the recipe rotated it.

    Parameters
    ----------
    engine : Engine
        Of a file that ``knows_its_basis``.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.vocab_size, self.valid_vocab = engine.vocab_size, engine.valid_vocab
        self.logit_exponent = engine.logit_exponent
        origin = engine.model.origin
        recipe = Recipe.parse(origin["recipe"], "the file's recipe")
        rotated = any(isinstance(step, Rotate) for step in recipe.passes)
        self.back = random_rotation(engine.config.d_model, origin["seed"]).T if rotated else None

    def empty_state(self, batch: int) -> Any:
        return self.engine.empty_state(batch)

    @property
    def counters(self) -> Counter[str]:
        """Counts of saturated values, by kind."""
        return self.engine.counters

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[NDArray[np.int32], Any]:
        return self.engine.forward(ids, state, last_only=last_only)

    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.float64]]]:
        """Residual stream after every layer, (batch, seqlen, d_model); counts no saturation."""
        out: list[tuple[str, NDArray[np.float64]]] = []
        unit = 2.0**self.engine.model.residual_exp

        def observe(name: str, value: NDArray[Any]) -> None:
            if name.endswith(".residual"):
                real = value.reshape(*ids.shape, -1) * unit
                out.append((name, real if self.back is None else real @ self.back))

        counted = self.engine.counters.copy()
        self.engine.forward(ids, self.engine.empty_state(len(ids)), observe=observe)
        self.engine.counters = counted
        return out
