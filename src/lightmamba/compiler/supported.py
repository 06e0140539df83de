"""Which models the accelerator runs: equal layers, of a kind that it has units for."""

from typing import Any

from lightmamba.blocks import part
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError

__all__ = ["the_layer"]


def the_layer(config: ModelConfig) -> Any:
    """Sizes of each layer of a model.

    Raises
    ------
    InputError
        If the accelerator has no units for one of its kinds, or layers differ.
    """
    if missing := [kind for kind in config.kinds if part(kind, "commands") is None]:
        raise InputError(
            f"the accelerator does not support {' and '.join(sorted(missing))} layers; run the "
            f"model on the engine: lightmamba generate FILE --prompt TEXT"
        )
    layer = config.layers[0]
    for index, other in enumerate(config.layers):
        if other != layer:
            raise InputError(
                f"layer {index} has other sizes than layer 0, but the accelerator takes equal "
                f"layers; run the model on the engine: lightmamba generate FILE --prompt TEXT"
            )
    return layer
