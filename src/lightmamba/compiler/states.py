"""A sequence's state as it lies in the accelerator's memory, from the engine's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import part
from lightmamba.compiler.memory import Memory
from lightmamba.compiler.plan import plan
from lightmamba.compiler.source import sizes
from lightmamba.machine.artifact import Artifact
from lightmamba.machine.ports import clients

__all__ = ["memory_of", "state_bytes"]

Bytes = NDArray[np.uint8]


def memory_of(artifact: Artifact) -> Memory:
    """Sizes and places of a build's model, whose hardware may be made for a larger one."""
    config, formats = sizes(artifact.model)
    arch = plan(
        config, formats, artifact.target, artifact.order,
        kinds=artifact.arch.kinds, context=artifact.arch.context,
    )  # fmt: skip
    return Memory(config, formats, arch, artifact.target)


def state_bytes(
    artifact: Artifact, layers: Sequence[Mapping[str, NDArray[Any]]]
) -> Mapping[str, Bytes]:
    """Content of the regions that a sequence changes, on their first copies.

    Parameters
    ----------
    artifact : Artifact
        Of the model.
    layers : sequence of {name: (1, ...)}
        Arrays of the first layers, as :meth:`lightmamba.engine.State.layer` gives them.
    """
    memory, found = memory_of(artifact), defaultdict[str, list[Bytes]](list)
    shapes = {client.name: client.shape for client in clients(memory.arch)}
    for sizes_, arrays in zip(memory.config.layers, layers, strict=False):
        layout = part(sizes_.kind, "layout")
        state = getattr(layout, "state_bytes", None)
        if state is None:
            continue
        for name, content in state(sizes_, artifact.order, arrays, memory.arch).items():
            stride = memory.stride(name) if shapes.get(name) in ("layer", "growing") else 1
            found[name].append(np.pad(content, (0, -len(content) % stride)))
    return {name: np.concatenate(each) for name, each in found.items()}
