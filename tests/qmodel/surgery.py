"""Take a quantized model file apart and put it together wrongly, with a right hash."""

import io
import json
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from lightmamba.model.qmodel import QuantizedModel
from lightmamba.model.qmodel.seal import digest
from tests.golden.tiny import FILE

Tensors = dict[str, NDArray[Any]]


def parts() -> tuple[dict[str, Any], Tensors]:
    """Metadata and tensors of the golden file."""
    with safe_open(FILE, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        return json.loads(file.metadata()["lightmamba"]), tensors


def sealed(data: bytes, own: str) -> bytes:
    """The bytes of a file with their true hash in the place of ``own``, wherever its header has it.

    So that a change is not refused for its hash alone. A file whose header is cut is left alone.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    if end > len(data):
        return data
    found = digest(io.BytesIO(data), own)
    return data[:end].replace(own.encode(), found.encode()) + data[end:]


def write(
    path: Path,
    metadata: Callable[[dict[str, Any]], Any] = lambda _: None,
    tensors: Callable[[Tensors], Any] = lambda _: None,
) -> Path:
    """Write the golden model after changes to its parts."""
    header, found = parts()
    own = header["sha256"]
    metadata(header)
    tensors(found)
    path.write_bytes(sealed(save(found, {"lightmamba": json.dumps(header)}), own))
    return path


def write_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write the golden file with another safetensors header before the same bytes."""
    data = FILE.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + data[8 + length :]
    path.write_bytes(sealed(whole, parts()[0]["sha256"]))
    return path


def assert_equal(ours: Any, theirs: Any, where: str = "model") -> None:
    """Every field equal, arrays with their types."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype, where
        np.testing.assert_array_equal(ours, theirs, err_msg=where)
    elif is_dataclass(ours):
        for field in fields(ours):
            name = field.name
            assert_equal(getattr(ours, name), getattr(theirs, name), f"{where}.{name}")
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(a, b, f"{where}[{i}]")
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for name in ours:
            assert_equal(ours[name], theirs[name], f"{where}.{name}")
    else:
        assert ours == theirs, where


def assert_same_model(ours: QuantizedModel, theirs: QuantizedModel) -> None:
    """Every integer, exponent and text equal."""
    assert_equal(ours, theirs)
