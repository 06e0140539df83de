"""The model of a build: how its directory keeps it, and how it comes back."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lightmamba.arch.artifact import MODEL, Artifact, ArtifactWriter
from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError
from lightmamba.qmodel import Formats, QuantizedModel, load, to_bytes
from lightmamba.qmodel.synthetic import RandomLayers, random_model

__all__ = ["describe", "keep", "open_model", "sizes"]


def describe(model: QuantizedModel) -> dict[str, Any]:
    """What the manifest says of a model."""
    config = asdict(model.config)
    config["dt_limit"] = [repr(float(x)) for x in model.config.dt_limit]
    sizes: dict[str, Any] = {"config": config, "formats": asdict(model.formats)}
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
        kind = artifact.model["kind"]
        if kind == "file":
            return load(artifact.path / artifact.model["file"])
        if kind != "random":
            raise ValueError(f"kind {kind!r}")
        config, formats = sizes(artifact.model)
        return random_model(config, formats, int(artifact.model["seed"]), lazy=lazy)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{artifact.path} does not say which model it runs ({error})") from error


def sizes(model: Mapping[str, Any]) -> tuple[Mamba2Config, Formats]:
    """Sizes and arithmetic, of what the manifest says of a model."""
    config = dict(model["config"])
    low, high = (float(text) for text in config.pop("dt_limit"))
    return Mamba2Config(**config, dt_limit=(low, high)), Formats(**model["formats"])
