"""A sequence's state as it lies in the accelerator's memory, from the engine's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.place import STATE_PORTS
from lightmamba.compiler.memory import Memory
from lightmamba.compiler.plan import plan
from lightmamba.compiler.source import sizes
from lightmamba.machine.artifact import Artifact

__all__ = ["memory_of", "state_bytes"]

Bytes = NDArray[np.uint8]


def memory_of(artifact: Artifact) -> Memory:
    """Sizes and places of a build's model, whose hardware may be made for a larger one."""
    config, formats = sizes(artifact.model)
    arch = plan(config, formats, artifact.target, artifact.order)
    return Memory(config, arch, artifact.target)


def state_bytes(
    artifact: Artifact, layers: Sequence[Mapping[str, NDArray[Any]]]
) -> Mapping[str, Bytes]:
    """Content of the regions ``state``, of each port, and ``conv_state``.

    Parameters
    ----------
    artifact : Artifact
        Of the model.
    layers : sequence of {name: (1, ...)}
        Arrays of the first layers, as :meth:`lightmamba.engine.State.layer` gives them.
    """
    memory = memory_of(artifact)
    layout, arch = memory.layout, memory.arch
    found = [
        layout.state_bytes(
            memory.layer, artifact.order, layer, arch.padded_state, memory.state_beat,
            window=arch.window, elements=arch.state_elements, ports=arch.state_ports,
        )
        for layer in layers
    ]  # fmt: skip
    conv = [np.pad(each["conv_state"], (0, -len(each["conv_state"]) % memory.conv_stride))
            for each in found]  # fmt: skip
    names = [copies[0] for copies in STATE_PORTS[: arch.state_ports]]
    return {
        **{name: np.concatenate([each[name] for each in found]) for name in names},
        "conv_state": np.concatenate(conv),
    }
