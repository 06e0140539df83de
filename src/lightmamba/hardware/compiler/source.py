"""The model of a build: how its directory keeps it, and how it comes back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightmamba.common.errors import InputError, shown
from lightmamba.common.plain import take
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import fitting, plan
from lightmamba.hardware.machine.artifact import MODEL, Artifact, ArtifactWriter
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel, load, to_bytes
from lightmamba.model.qmodel.synthetic import RandomLayers, random_model
from lightmamba.numerics.model_formats import Formats

__all__ = ["describe", "keep", "memory_of", "open_model", "read_build", "sizes"]

AGAIN = "make it again with: lightmamba compile MODEL --target TARGET -o BUILD"


def describe(model: QuantizedModel) -> dict[str, Any]:
    """Description of a model in the manifest."""
    sizes: dict[str, Any] = {"config": model.config.as_dict(), "formats": model.formats.as_dict()}
    if isinstance(model.layers, RandomLayers):
        return {"kind": "random", "seed": model.layers.seed, "numpy": np.__version__, **sizes}
    return {"kind": "file", "file": MODEL, **sizes}


def keep(writer: ArtifactWriter, model: QuantizedModel, source: Path | None) -> None:
    """Put the model into the build, unless it can be made again from its seed."""
    if isinstance(model.layers, RandomLayers):
        return
    if source is not None:
        writer.copy(MODEL, source)
    else:
        writer.append(MODEL, to_bytes(model))


def memory_of(artifact: Artifact) -> Memory:
    """Sizes and places of a build's model, whose hardware may be made for a larger one."""
    config, formats = sizes(artifact.model)
    arch = plan(config, formats, artifact.target, artifact.order, hardware=artifact.arch)
    return Memory(config, formats, arch, artifact.target)


def read_build(path: Path, target: str = "tiny", *, again: bool = False) -> Artifact:
    """Open a build whose hardware, regions and registers are those that its model needs.

    Parameters
    ----------
    path, target, again
        As of :meth:`~lightmamba.hardware.machine.artifact.Artifact.read`.

    Raises
    ------
    InputError
        As there, or if they are others.
    """
    found = Artifact.read(path, target, again=again)
    try:
        memory = memory_of(found).like(found.regions)
        fitting(found.arch, memory.arch)
        regions = memory.regions()
        wanted = {"regions": regions, "registers": memory.registers(regions)}
        if wrong := [name for name, value in wanted.items() if getattr(found, name) != value]:
            raise InputError(f"its {wrong[0]} are not those of its sizes")
    except InputError as error:
        raise InputError(f"{path} is damaged ({error}); {AGAIN}") from error
    return found


def open_model(artifact: Artifact, *, lazy: bool = False) -> QuantizedModel:
    """The model that a build was compiled from.

    Parameters
    ----------
    artifact
        The build.
    lazy
        Make the layers of a random model only when they are asked for, each time.

    Raises
    ------
    InputError
        If the build does not say which, or its file is not right.
    """
    try:
        kind, (config, formats) = take(artifact.model, "kind", str), sizes(artifact.model)
        if kind == "random":
            seed = take(artifact.model, "seed", int)
            if not 0 <= seed < 1 << 63:
                raise InputError("its seed is out of range")
            return random_model(config, formats, seed, lazy=lazy)
        if kind != "file":
            raise InputError(f"its kind is {shown(kind)}, expected file or random")
        file = take(artifact.model, "file", str)
    except InputError as error:
        raise InputError(
            f"{artifact.path} does not say which model it runs ({error}); {AGAIN}"
        ) from error
    model = load(artifact.path / file)
    if (model.config, model.formats) != (config, formats):
        raise InputError(f"{artifact.path / file} has other sizes than the build; compile again")
    return model


def sizes(model: Mapping[str, Any]) -> tuple[ModelConfig, Formats]:
    """Sizes and arithmetic, of what the manifest says of a model.

    Raises
    ------
    InputError
        If something is missing, of another type, or cannot be.
    """
    config = ModelConfig.from_dict(take(model, "config", dict))
    return config, Formats.from_dict(model.get("formats"))
