"""Weight files: which tensors they hold, and one tensor at a time.

Formats: ``model.safetensors``, ``pytorch_model.bin`` (unpickled as weights only, never as code),
and either of them in shards listed by an index.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.files import read_json

__all__ = ["DTYPES", "WHOLE", "StoredTensor", "Weights", "find_weights", "finite"]

SINGLE = ("model.safetensors", "pytorch_model.bin")
WHOLE = slice(None)
PART = 2**20  # values looked at together, so that checks need no memory to speak of
DTYPES = ("BF16", "F16", "F32")
TORCH_DTYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, not read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors writes it: BF16, F16, F32, ...
    read: Callable[[slice], Tensor]  # some of its rows


@dataclass(frozen=True)
class Weights:
    """All tensors of a checkpoint by their published names, and the files that hold them."""

    files: tuple[Path, ...]
    tensors: dict[str, StoredTensor]


def find_weights(folder: Path) -> Weights:
    """List the tensors of a folder from the headers of its weight files; no data is read.

    Raises
    ------
    InputError
        If there is no weight file, or one is missing, truncated or contradicts itself.
    """
    for name in SINGLE:
        if (folder / name).is_file():
            tensors = _tensors_of(folder / name)
            return Weights((folder / name,), {tensor.name: tensor for tensor in tensors})
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _sharded(index)
    raise InputError(
        f"{folder} holds no weights: it needs {SINGLE[0]}, {SINGLE[1]}, "
        f"or shards with their {SINGLE[0]}.index.json"
    )


def _sharded(index: Path) -> Weights:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f'{index} must hold "weight_map", an object from tensor to file name')
    files: dict[str, dict[str, StoredTensor]] = {}
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not file or Path(file).name != file:
            raise InputError(f"{index} puts {tensor} in {file!r}, which is no file name")
        if file not in files:
            if not (index.parent / file).is_file():
                raise InputError(f"{index.parent / file} is missing, though {index.name} lists it")
            files[file] = {stored.name: stored for stored in _tensors_of(index.parent / file)}
        if tensor not in files[file]:
            raise InputError(f"{index.parent / file} lacks {tensor}, though {index.name} lists it")
    return Weights(
        tuple(index.parent / file for file in sorted(files)),
        {name: tensor for tensors in files.values() for name, tensor in tensors.items()}
        | {name: files[file][name] for name, file in weight_map.items()},
    )


def _tensors_of(path: Path) -> list[StoredTensor]:
    with _named_errors(path):
        stamp = _stamp(path)
        found = list((_from_safetensors if path.suffix == ".safetensors" else _from_torch)(path))
        return [replace(stored, read=partial(_unchanged, stored, stamp)) for stored in found]


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _unchanged(stored: StoredTensor, stamp: tuple[int, int, int], rows: slice) -> Tensor:
    """Read rows of a file, which must still be the one that was found, and hashed after that."""
    tensor = stored.read(rows)
    if stored.file.is_file() and _stamp(stored.file) != stamp:
        raise InputError(f"{stored.file} was changed while it was in use; start again with it")
    return tensor


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn what the file formats raise into one sentence that names the file."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a plain file of tensors, or would run code when read; "
            "save the weights again as model.safetensors"
        ) from error
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} is truncated or damaged ({reason}); copy or download it again"
        ) from error


def _from_safetensors(path: Path) -> Iterator[StoredTensor]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        for name in names:
            view = file.get_slice(name)
            shape, dtype = tuple(view.get_shape()), str(view.get_dtype())
            yield StoredTensor(path, name, shape, dtype, partial(_read_safetensors, path, name))


def _read_safetensors(path: Path, name: str, rows: slice) -> Tensor:
    """Open the file for every tensor, so that the pages of the last one are given back."""
    if not path.is_file():
        raise InputError(f"{path} is missing, though it was there; put it back and start again")
    with _named_errors(path), safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name) if rows == WHOLE else file.get_slice(name)[rows]
        return tensor


def _from_torch(path: Path) -> Iterator[StoredTensor]:
    mapped = zipfile.is_zipfile(path)  # the format of torch >= 1.6, whose tensors can stay on disk
    if not mapped and _starts_as_zip(path):
        raise InputError(f"{path} is truncated (its end is missing); copy or download it again")
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(state, dict):
        raise InputError(f"{path} must hold a dictionary of tensors, not a {type(state).__name__}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{path}: entry {name!r} must be a tensor under a name")
        dtype = TORCH_DTYPES.get(tensor.dtype, str(tensor.dtype))
        yield StoredTensor(path, name, tuple(tensor.shape), dtype, partial(_itself, tensor))


def _starts_as_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def _itself(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows]


def finite(stored: StoredTensor, rows: slice = WHOLE) -> Tensor:
    """Read a tensor, or some of its rows.

    Raises
    ------
    InputError
        If it holds NaN or infinity, or its file cannot be read.
    """
    tensor = stored.read(rows)
    if not all(torch.isfinite(part).all() for part in tensor.flatten().split(PART)):
        raise InputError(f"{stored.file}: {stored.name} holds NaN or infinity; weights are finite")
    return tensor
