"""Pair each parameter of a model with the stored tensors that it is made of, and read them.

The whole model, or a layer at a time, wherever the weights lie.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lightmamba.common.errors import InputError
from lightmamba.model.causal_lm import CausalLM, Layer
from lightmamba.model.checkpoint.published import Origin, Part, Published
from lightmamba.model.checkpoint.tensors import DTYPES, WHOLE, StoredTensor, Weights, finite
from lightmamba.model.config import ModelConfig

__all__ = ["FloatWeights", "ModelWeights", "StoredWeights", "expected"]

M = TypeVar("M", bound=nn.Module)
ROWS = 4096  # that are compared together


def _check_tied(published: Published, weights: Weights) -> None:
    """Refuse a stored head that is not the embedding, where config.json ties them."""
    head = weights.tensors.get("lm_head.weight")
    if head is None or not published.tied:
        return
    names = published.origin("embedding.weight").parts[0].names
    embedding = next(weights.tensors[name] for name in names if name in weights.tensors)
    parts = [slice(at, at + ROWS) for at in range(0, embedding.shape[0], ROWS)]
    if head.shape != embedding.shape or not all(
        torch.equal(*(tensor.read(rows).to(torch.float32) for tensor in (head, embedding)))
        for rows in parts
    ):
        raise InputError(
            f"{head.file}: {head.name} differs from the embedding although config.json ties them; "
            "set tie_word_embeddings (tie_embeddings in mamba_ssm's layout) to false"
        )


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


def choose(published: Published, weights: Weights) -> dict[str, StoredTensor]:
    """Pair each parameter with what is stored for it, or say which one does not fit."""
    chosen: dict[str, StoredTensor] = {}
    used: set[str] = set()
    where = weights.files[0].parent
    for own, shape in expected(published.config):
        origin = published.origin(own)
        if origin.other and any(name in weights.tensors for name in origin.other.parts[0].names):
            origin = origin.other
        parts = [_part(part, shape, weights, where) for part in origin.parts]
        used |= {stored.name for stored in parts}
        chosen[own] = _together(origin, parts, shape)
    for name, stored in weights.tensors.items():
        if name not in used and not (name == "lm_head.weight" and published.tied):
            raise InputError(
                f"{stored.file}: {name} of shape {stored.shape} belongs to no parameter of the "
                f"model with {published.config.n_layer} layers that config.json describes"
            )
    return chosen


def _part(part: Part, shape: tuple[int, ...], weights: Weights, where: Path) -> StoredTensor:
    """The stored tensor of a part of a parameter of this shape."""
    shape = part.shape or (shape if part.rows is None else (part.rows, *shape[1:]))
    stored = next((weights.tensors[n] for n in part.names if n in weights.tensors), None)
    if stored is None:
        raise InputError(
            f"{where}: tensor {part.names[0]} of shape {shape} is missing from the weights, "
            "though config.json asks for it"
        )
    if stored.shape != shape:
        raise InputError(
            f"{stored.file}: {stored.name} has shape {stored.shape}, but config.json asks for "
            f"{shape}"
        )
    if stored.dtype not in DTYPES:
        raise InputError(
            f"{stored.file}: {stored.name} is of type {stored.dtype}; "
            f"weights must be one of {', '.join(DTYPES)}"
        )
    return stored


def _together(origin: Origin, parts: list[StoredTensor], shape: tuple[int, ...]) -> StoredTensor:
    """One tensor of several, with their factors; in float32, unless it is as stored."""
    if len(parts) == 1 and origin.parts[0].factor == 1.0 and origin.parts[0].view is None:
        return parts[0]
    name = " + ".join(stored.name for stored in parts)
    return StoredTensor(parts[0].file, name, shape, "F32", partial(_read, origin, parts, shape))


def _read(origin: Origin, parts: list[StoredTensor], shape: tuple[int, ...], rows: slice) -> Tensor:
    if len(parts) == 1 and origin.parts[0].view is None:
        return parts[0].read(rows).to(torch.float32) * origin.parts[0].factor
    whole, at = torch.empty(shape), 0
    for part, stored in zip(origin.parts, parts, strict=True):
        value = stored.read(WHOLE) if part.view is None else part.view(stored.read(WHOLE))
        whole[at : at + len(value)].copy_(value).mul_(part.factor)  # in float32
        at += len(value)
    return whole[rows]


class FloatWeights(ABC):
    """Weights for the quantizer: copies, which it may overwrite."""

    config: ModelConfig
    dtype: torch.dtype  # of what is handed out

    @abstractmethod
    def layer(self, index: int) -> Layer:
        """One layer."""

    @abstractmethod
    def embedding(self) -> Tensor:
        """Embedding (vocab_size, d_model), in the type in which it is kept."""

    @abstractmethod
    def head(self, rows: slice) -> Tensor:
        """Some rows of the head."""

    @abstractmethod
    def norm_f(self) -> Tensor:
        """Weight of the last norm, (d_model,)."""


class ModelWeights(FloatWeights):
    """Weights of a model in memory, which stays unchanged."""

    def __init__(self, model: CausalLM) -> None:
        self.model, self.config = model, model.config
        self.dtype = torch.promote_types(model.norm_f.dtype, torch.float32)

    def layer(self, index: int) -> Layer:
        return copy.deepcopy(self.model.layers[index]).to(self.dtype).requires_grad_(False)

    def embedding(self) -> Tensor:
        return self.model.embedding.weight.detach()

    def head(self, rows: slice) -> Tensor:
        return self.model.lm_head.weight.detach()[rows].to(self.dtype, copy=True)

    def norm_f(self) -> Tensor:
        return self.model.norm_f.detach().to(self.dtype, copy=True)


class StoredWeights(FloatWeights):
    """Weights of a checkpoint's files, read on demand, in float32.

    Raises
    ------
    InputError
        If a tensor is missing, superfluous, of another shape or type; when it is read, if it is
        not finite or its file is no longer there.
    """

    dtype = torch.float32

    def __init__(self, published: Published, weights: Weights) -> None:
        self.config = published.config
        self._chosen: dict[str, StoredTensor] = choose(published, weights)
        _check_tied(published, weights)

    def whole(self, dtype: torch.dtype) -> CausalLM:
        """The float model, its parameters of this type.

        Memory: the model and one tensor as it is stored. (Pages of a mapped ``pytorch_model.bin``
        count as resident too, but the system takes them back when it needs them.)
        """
        with torch.device("meta"):
            model = CausalLM(self.config)
        model = model.to(dtype).to_empty(device="cpu")
        if self.config.tie_embeddings:
            model.lm_head.weight = model.embedding.weight
        return self._filled(model)

    def _filled(self, module: M, prefix: str = "") -> M:
        """A module with the stored values of its parameters."""
        for own, parameter in module.requires_grad_(False).named_parameters():
            parameter.copy_(finite(self._chosen[prefix + own]))
        return module.eval()

    def layer(self, index: int) -> Layer:
        with torch.device("meta"):
            layer = Layer(self.config.layers[index], self.config.d_model, self.config.eps)
        return self._filled(layer.to(self.dtype).to_empty(device="cpu"), f"layers.{index}.")

    def embedding(self) -> Tensor:
        return finite(self._chosen["embedding.weight"])

    def head(self, rows: slice) -> Tensor:
        tied = self.config.tie_embeddings
        stored = self._chosen["embedding.weight" if tied else "lm_head.weight"]
        return finite(stored, rows).to(self.dtype)

    def norm_f(self) -> Tensor:
        return finite(self._chosen["norm_f"]).to(self.dtype)
