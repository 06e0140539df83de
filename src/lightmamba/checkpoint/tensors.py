"""Weight files: which tensors they hold, and one tensor at a time into the float model.

Formats: ``model.safetensors``, ``pytorch_model.bin`` (unpickled as weights only, never as code),
and either of them in shards listed by an index.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from lightmamba.causal_lm import CausalLM, Layer
from lightmamba.checkpoint.files import read_json
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError

__all__ = [
    "StoredTensor", "Weights", "build_model", "check_tied", "choose", "expected", "find_weights",
    "finite", "published_names",
]  # fmt: skip

SINGLE = ("model.safetensors", "pytorch_model.bin")
WHOLE = slice(None)
ROWS = 4096  # that are compared together
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


def published_names(own: str) -> tuple[str, ...]:
    """Names of our parameter in a checkpoint: transformers' first, then others that occur."""
    if own == "lm_head.weight":
        return (own,)
    if own == "embedding.weight":
        return ("backbone.embeddings.weight", "backbone.embedding.weight")
    if own.rpartition(".")[2] in ("norm", "norm_f"):
        return (f"backbone.{own}.weight",)
    return (f"backbone.{own}",)


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
        {name: tensor for tensors in files.values() for name, tensor in tensors.items()},
    )


def _tensors_of(path: Path) -> list[StoredTensor]:
    with _named_errors(path):
        return list((_from_safetensors if path.suffix == ".safetensors" else _from_torch)(path))


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
    """Open anew for every tensor, so that the pages of the last one are given back."""
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


def build_model(config: ModelConfig, weights: Weights, dtype: torch.dtype) -> CausalLM:
    """Make the float model and fill it tensor by tensor.

    Memory: the model and one tensor as it is stored. (Pages of a mapped ``pytorch_model.bin`` count
    as resident too, but the system takes them back when it needs them.)

    Parameters
    ----------
    config, weights
        Of one checkpoint.
    dtype
        Of the model's parameters; the stored ones are converted.

    Raises
    ------
    InputError
        If a tensor is missing, superfluous, of another shape or type, or not finite.
    """
    chosen = choose(config, weights)
    with torch.device("meta"):
        model = CausalLM(config)
    model = model.to(dtype).to_empty(device="cpu").requires_grad_(False).eval()
    if config.tie_embeddings:
        model.lm_head.weight = model.embedding.weight
    for own, parameter in model.named_parameters():
        parameter.copy_(finite(chosen[own]))
    check_tied(config, weights)
    return model


def check_tied(config: ModelConfig, weights: Weights) -> None:
    """Refuse a stored head that is not the embedding, where config.json ties them.

    Raises
    ------
    InputError
        If they differ.
    """
    head = weights.tensors.get("lm_head.weight")
    if head is None or not config.tie_embeddings:
        return
    embedding = choose(config, weights)["embedding.weight"]
    parts = [slice(at, at + ROWS) for at in range(0, embedding.shape[0], ROWS)]
    if head.shape != embedding.shape or not all(
        torch.equal(*(tensor.read(rows).to(torch.float32) for tensor in (head, embedding)))
        for rows in parts
    ):
        raise InputError(
            f"{head.file}: {head.name} differs from the embedding although config.json ties them; "
            "set tie_word_embeddings (tie_embeddings in mamba_ssm's layout) to false"
        )


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


def expected(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Our parameters and their shapes, one layer after the other, without allocating any."""
    with torch.device("meta"):
        kinds = {sizes: Layer(sizes, config.d_model, config.eps) for sizes in set(config.layers)}
    yield "embedding.weight", (config.vocab_size, config.d_model)
    yield "norm_f", (config.d_model,)
    if not config.tie_embeddings:
        yield "lm_head.weight", (config.vocab_size, config.d_model)
    for index, sizes in enumerate(config.layers):
        for own, parameter in kinds[sizes].named_parameters():
            yield f"layers.{index}.{own}", tuple(parameter.shape)


def choose(config: ModelConfig, weights: Weights) -> dict[str, StoredTensor]:
    """Pair each parameter with its stored tensor, or say which one does not fit."""
    chosen: dict[str, StoredTensor] = {}
    where = weights.files[0].parent
    for own, shape in expected(config):
        names = published_names(own)
        stored = next((weights.tensors[name] for name in names if name in weights.tensors), None)
        if stored is None:
            raise InputError(
                f"{where}: tensor {names[0]} of shape {shape} is missing from the weights, "
                "though config.json asks for it"
            )
        if stored.shape != shape:
            raise InputError(
                f"{stored.file}: {stored.name} has shape {stored.shape}, "
                f"but config.json asks for {shape}"
            )
        if stored.dtype not in DTYPES:
            raise InputError(
                f"{stored.file}: {stored.name} is of type {stored.dtype}; "
                f"weights must be one of {', '.join(DTYPES)}"
            )
        chosen[own] = stored
    used = {stored.name for stored in chosen.values()}
    for name, stored in weights.tensors.items():
        if name not in used and not (name == "lm_head.weight" and config.tie_embeddings):
            raise InputError(
                f"{stored.file}: {name} of shape {stored.shape} belongs to no parameter of the "
                f"model with {config.n_layer} layers that config.json describes"
            )
    return chosen
