"""A sequence's state as it lies in the accelerator's memory, from the engine's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.artifact import Artifact
from lightmamba.compiler.memory import Memory
from lightmamba.compiler.source import sizes

__all__ = ["memory_of", "state_bytes"]

Bytes = NDArray[np.uint8]


def memory_of(artifact: Artifact) -> Memory:
    """Sizes and places of a build."""
    config, _ = sizes(artifact.model)
    return Memory(config, artifact.arch, artifact.target)


def state_bytes(
    artifact: Artifact, layers: Sequence[Mapping[str, NDArray[Any]]]
) -> Mapping[str, Bytes]:
    """Content of the regions ``state`` and ``conv_state``.

    Parameters
    ----------
    artifact : Artifact
        Of the model.
    layers : sequence of {name: (1, ...)}
        Arrays of the first so many layers, as :meth:`lightmamba.engine.State.layer` gives them.
    """
    memory = memory_of(artifact)
    layout, width = memory.layout, memory.arch.padded_state
    found = [
        layout.state_bytes(memory.layer, artifact.order, layer, width, memory.state_beat)
        for layer in layers
    ]
    conv = [np.pad(each["conv_state"], (0, -len(each["conv_state"]) % memory.conv_stride))
            for each in found]  # fmt: skip
    return {
        "state": np.concatenate([each["state"] for each in found]),
        "conv_state": np.concatenate(conv),
    }
