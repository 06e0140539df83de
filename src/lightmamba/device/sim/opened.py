"""Open a build directory in the simulator, next to the engine."""

from dataclasses import dataclass
from pathlib import Path

from lightmamba.device.sim.device import Placement, SimDevice, open_device
from lightmamba.device.sim.golden import GoldenModel
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model, read_build
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["Opened", "open_golden"]


@dataclass(frozen=True)
class Opened:
    """Hardware and engine of one build, and the model that both run."""

    golden: GoldenModel
    device: SimDevice
    model: QuantizedModel


def open_golden(
    path: Path,
    *,
    waves: Path | None = None,
    stalls: float = 0.0,
    seed: int = 0,
    cache: Path | None = None,
    placement: Placement | None = None,
    sequences: int = 1,
    model: QuantizedModel | None = None,
) -> Opened:
    """Load a build into the simulator and its model into the engine.

    The arguments are those of :func:`lightmamba.device.sim.open_device`, and the build's ``model``
    if it is open already.

    Raises
    ------
    InputError
        If the build is damaged, or a tool is missing.
    """
    artifact = read_build(path)
    model = model or open_model(artifact)
    device = open_device(
        artifact, waves=waves, stalls=stalls, seed=seed, cache=cache, placement=placement,
        sequences=sequences,
    )  # fmt: skip
    return Opened(GoldenModel(device, Engine(model)), device, model)
