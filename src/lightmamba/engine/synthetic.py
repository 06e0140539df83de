"""Made-up states: a token after thousands of others, without running those."""

import numpy as np

from lightmamba.engine.state import State
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["random_state"]

SPREAD, EXPONENT = 40, 3  # of keys and values: standard deviation of an int8, scale of a block


def random_state(model: QuantizedModel, positions: int, seed: int = 0) -> State:
    """State of one sequence with random keys and values, and zeros where nothing grows.

    Parameters
    ----------
    model
        Of any kinds of layers.
    positions
        Tokens that the sequence has seen.
    seed
        Of the random numbers.
    """
    rng, state = np.random.default_rng(seed), State.empty(model, 1)
    state.reserve(0, positions)
    state.position[:] = positions
    for n, names in enumerate(state.layout.tokens):
        arrays = state.layer(n)
        for name in names:
            each = arrays[name][0]
            values = rng.standard_normal(each.shape, np.float32) * SPREAD
            each[...] = EXPONENT if name.endswith("_exp") else np.clip(values, -127, 127)
    return state
