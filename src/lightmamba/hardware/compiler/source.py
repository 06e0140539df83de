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

__all__ = ["describe", "keep", "open_model", "sizes"]


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
        _check(artifact, config, formats)
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
            f"{artifact.path} does not say which model it runs ({error}); make it again with: "
            "lightmamba compile MODEL --target TARGET -o BUILD"
        ) from error
    model = load(artifact.path / file)
    if (model.config, model.formats) != (config, formats):
        raise InputError(f"{artifact.path / file} has other sizes than the build; compile again")
    return model


def _check(artifact: Artifact, config: ModelConfig, formats: Formats) -> None:
    """Hardware, regions and registers are those that the model needs, so that sizes do not lie."""
    needed = plan(config, formats, artifact.target, artifact.order, hardware=artifact.arch)
    fitting(artifact.arch, needed)
    memory = Memory(config, formats, needed, artifact.target).like(artifact.regions)
    if memory.regions() != artifact.regions:
        raise InputError("its regions are not those of its sizes")
    if memory.registers(artifact.regions) != artifact.registers:
        raise InputError("its registers are not those of its sizes")


def sizes(model: Mapping[str, Any]) -> tuple[ModelConfig, Formats]:
    """Sizes and arithmetic, of what the manifest says of a model.

    Raises
    ------
    InputError
        If something is missing, of another type, or cannot be.
    """
    config = ModelConfig.from_dict(take(model, "config", dict))
    return config, Formats.from_dict(model.get("formats"))
