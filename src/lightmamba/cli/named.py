"""Models by name, for verbs that take a shape or a quantized file."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightmamba.errors import InputError

if TYPE_CHECKING:
    from lightmamba.config import Mamba2Config
    from lightmamba.qmodel import Formats, QuantizedModel

__all__ = ["FORMATS", "open_named", "sizes_named"]

FORMATS = {"w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}  # bits of weights and activations


def open_named(
    name: str, scheme: str | None, seed: int | None
) -> "tuple[QuantizedModel, Path | None]":
    """Model, and the file that it came from; a shape gets random weights, made when asked for.

    Raises
    ------
    InputError
        If there is no such file or shape, or what is only for shapes is given with a file.
    """
    from lightmamba.config import SHAPES
    from lightmamba.qmodel import load
    from lightmamba.qmodel.synthetic import random_model

    if (path := _file(name)) is not None:
        if scheme is not None or seed is not None:
            raise InputError(f"--format and --seed are for shapes, but {path} is a file")
        return load(path), path
    formats, seed = _formats(scheme), seed or 0
    if not 0 <= seed < 1 << 63:
        raise InputError(f"--seed must be from 0 to 2**63 - 1, not {seed}; try 0")
    return random_model(SHAPES[name], formats, seed, lazy=True), None


def sizes_named(name: str, scheme: str | None) -> "tuple[Mamba2Config, Formats]":
    """Sizes and arithmetic only, of what :func:`open_named` opens."""
    from lightmamba.config import SHAPES

    if _file(name) is None:
        return SHAPES[name], _formats(scheme)
    model, _ = open_named(name, scheme, None)
    return model.config, model.formats


def _file(name: str) -> Path | None:
    """The file of this name; None where it is a shape."""
    from lightmamba.config import SHAPES

    path = Path(name)
    if name in SHAPES and not path.is_file():
        return None
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not a quantized file; "
            f"make one with: lightmamba quantize {path} -o m.safetensors"
        )
    if not path.exists():
        raise InputError(
            f"there is no file {path}; give a quantized file, or a shape: {', '.join(SHAPES)}"
        )
    return path


def _formats(scheme: str | None) -> "Formats":
    from lightmamba.qmodel import Formats

    scheme = scheme or "w4a4"
    if scheme not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}, not {scheme}")
    weights, activations = FORMATS[scheme]
    return Formats(weights, activations, head_weight_bits=weights)
