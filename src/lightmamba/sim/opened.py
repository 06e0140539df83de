"""Open a build directory in the simulator, next to the engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.artifact import Artifact
from lightmamba.compiler import open_model
from lightmamba.compiler.states import memory_of
from lightmamba.engine import Engine
from lightmamba.qmodel import QuantizedModel
from lightmamba.sim.device import Placement, SimDevice, open_device
from lightmamba.sim.passes import PassTwin
from lightmamba.sim.twin import Twin

__all__ = ["Opened", "OpenedPasses", "OpenedTwin", "open_beside", "open_passes", "open_twin"]


@dataclass(frozen=True)
class OpenedTwin:
    """Gates and engine of one build, and the model that both run."""

    twin: Twin
    device: SimDevice
    model: QuantizedModel


@dataclass(frozen=True)
class OpenedPasses:
    """The same for gates of several tokens."""

    twin: PassTwin
    device: SimDevice
    model: QuantizedModel


Opened = OpenedTwin | OpenedPasses


def open_beside(path: Path, **options: Any) -> Opened:
    """:func:`open_twin` or :func:`open_passes`, as the build's machine takes tokens."""
    several = Artifact.read(path).arch.tokens > 1
    return open_passes(path, **options) if several else open_twin(path, **options)


def open_twin(
    path: Path,
    *,
    waves: Path | None = None,
    stalls: float = 0.0,
    seed: int = 0,
    cache: Path | None = None,
    placement: Placement | None = None,
    sequences: int = 1,
) -> OpenedTwin:
    """Load a build into the simulator and its model into the engine.

    The arguments are those of :func:`lightmamba.sim.open_device`.

    Raises
    ------
    InputError
        If the build is damaged, or a tool is missing.
    """
    device, model, rows = _opened(
        path, waves=waves, stalls=stalls, seed=seed, cache=cache, placement=placement,
        sequences=sequences,
    )  # fmt: skip
    return OpenedTwin(Twin(device, Engine(model), rows), device, model)


def open_passes(path: Path, **options: Any) -> OpenedPasses:
    """As :func:`open_twin`, for a build of several tokens."""
    device, model, rows = _opened(path, **options)
    return OpenedPasses(PassTwin(device, Engine(model), rows), device, model)


def _opened(path: Path, **options: Any) -> tuple[SimDevice, QuantizedModel, NDArray[np.int64]]:
    """Gates, model, and the row of in_proj at each place."""
    artifact = Artifact.read(path)
    model = open_model(artifact)
    device = open_device(artifact, **options)
    memory = memory_of(artifact)
    return device, model, memory.layout.row_order(memory.layer, artifact.order)
