"""Files of a checkpoint folder, read so that a broken one is named in one sentence."""

import json
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.files import sha256_of

__all__ = ["read_bytes", "read_json", "sha256"]


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ``{"__float__": "Infinity"}`` and a bare ``Infinity`` are floats.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or holds something else than an object.
    """
    try:
        value = json.loads(read_bytes(path), object_hook=_tagged_float)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f'{path} must hold a JSON object, like {{"model_type": "mamba2"}}')
    return value


def _tagged_float(value: dict[str, Any]) -> Any:
    """Decode transformers' way of writing floats that JSON has no word for."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def sha256(path: Path) -> str:
    """Hash a file's bytes, as 64 hexadecimal digits.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
