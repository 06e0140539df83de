"""A sequence's state as it lies in the accelerator's memory, from the engine's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.clients import LAYER
from lightmamba.blocks import kind
from lightmamba.engine import State
from lightmamba.hardware.compiler.source import memory_of
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import clients, of_lanes, state_clients

__all__ = ["state_bytes"]

Bytes = NDArray[np.uint8]


def state_bytes(artifact: Artifact, state: State) -> Mapping[str, Bytes]:
    """Content of the regions that a sequence changes, on their first copies.

    Parameters
    ----------
    artifact : Artifact
        Of the model.
    state : State
        The engine's, of one sequence, in all layers or the first ones.
    """
    memory = memory_of(artifact)
    by_layer = [client.name for client in clients(memory.arch, LAYER)]
    nothing = np.zeros(0, np.uint8)
    names = (*state_clients(memory.arch), *by_layer, *of_lanes(memory.arch))
    found = {name: [nothing] for name in names}
    for n in range(len(state.layout.layers)):
        sizes_ = memory.config.layers[n]
        own, used = kind(sizes_.kind).hardware, _used(state, n)
        for name, content in own.state_bytes(sizes_, artifact.order, used, memory.arch).items():
            stride = memory.stride(name) if name in by_layer else 1
            found[name].append(np.pad(content, (0, -len(content) % stride)))
    return {name: np.concatenate(each) for name, each in found.items()}


def _used(state: State, layer: int) -> dict[str, NDArray[Any]]:
    """Arrays of a layer; of those that grow, (positions, ...) of the first sequence."""
    found = state.layer(layer)
    for name in state.layout.tokens[layer]:
        pages = found[name][0]
        found[name] = pages.reshape(-1, *pages.shape[2:])[: int(state.position[0])]
    return found
