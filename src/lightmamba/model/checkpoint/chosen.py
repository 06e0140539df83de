"""Pair each parameter of a model with the stored tensors that it is made of, and read them.

The whole model, or a layer at a time, wherever the weights lie.
"""

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightmamba.common.errors import InputError
from lightmamba.model.causal_lm import CausalLM, Layer
from lightmamba.model.checkpoint.published import Origin, Part, Published
from lightmamba.model.checkpoint.tensors import DTYPES, WHOLE, StoredTensor, Weights, finite
from lightmamba.model.config import ModelConfig

__all__ = ["FloatWeights", "ModelWeights", "StoredWeights", "build_model", "check_tied", "expected"]

ROWS = 4096  # that are compared together


def build_model(published: Published, weights: Weights, dtype: torch.dtype) -> CausalLM:
    """Make the float model and fill it tensor by tensor.

    Memory: the model and one tensor as it is stored. (Pages of a mapped ``pytorch_model.bin`` count
    as resident too, but the system takes them back when it needs them.)

    Parameters
    ----------
    published, weights
        Of one checkpoint.
    dtype
        Of the model's parameters; the stored ones are converted.

    Raises
    ------
    InputError
        If a tensor is missing, superfluous, of another shape or type, or not finite.
    """
    chosen, config = choose(published, weights), published.config
    with torch.device("meta"):
        model = CausalLM(config)
    model = model.to(dtype).to_empty(device="cpu").requires_grad_(False).eval()
    if config.tie_embeddings:
        model.lm_head.weight = model.embedding.weight
    for own, parameter in model.named_parameters():
        parameter.copy_(finite(chosen[own]))
    check_tied(published, weights)
    return model


def check_tied(published: Published, weights: Weights) -> None:
    """Refuse a stored head that is not the embedding, where config.json ties them.

    Raises
    ------
    InputError
        If they differ.
    """
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
    shape = shape if part.rows is None else (part.rows, *shape[1:])
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
    if len(parts) == 1 and origin.parts[0].factor == 1.0:
        return parts[0]
    name = " + ".join(stored.name for stored in parts)
    return StoredTensor(parts[0].file, name, shape, "F32", partial(_read, origin, parts))


def _read(origin: Origin, parts: list[StoredTensor], rows: slice) -> Tensor:
    if len(parts) == 1:
        return parts[0].read(rows).to(torch.float32) * origin.parts[0].factor
    whole = [
        stored.read(WHOLE).to(torch.float32) * part.factor
        for part, stored in zip(origin.parts, parts, strict=True)
    ]
    return torch.cat(whole)[rows]


class FloatWeights(Protocol):
    """Weights for the quantizer: copies, which it may overwrite."""

    config: ModelConfig
    dtype: torch.dtype  # of what is handed out

    def layer(self, index: int) -> Layer:
        """One layer."""

    def embedding(self) -> Tensor:
        """Embedding (vocab_size, d_model), in the type in which it is kept."""

    def head(self, rows: slice) -> Tensor:
        """Some rows of the head."""

    def norm_f(self) -> Tensor:
        """Weight of the last norm, (d_model,)."""


class ModelWeights:
    """Weights of a model in memory, which stays unchanged."""

    def __init__(self, model: CausalLM) -> None:
        self.model, self.config = model, model.config
        self.dtype = torch.promote_types(model.norm_f.dtype, torch.float32)

    def layer(self, index: int) -> Layer:
        """One layer."""
        return copy.deepcopy(self.model.layers[index]).to(self.dtype).requires_grad_(False)

    def embedding(self) -> Tensor:
        """Embedding."""
        return self.model.embedding.weight.detach()

    def head(self, rows: slice) -> Tensor:
        """Some rows of the head."""
        return self.model.lm_head.weight.detach()[rows].to(self.dtype, copy=True)

    def norm_f(self) -> Tensor:
        """Weight of the last norm."""
        return self.model.norm_f.detach().to(self.dtype, copy=True)


class StoredWeights:
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

    def layer(self, index: int) -> Layer:
        """One layer."""
        with torch.device("meta"):
            layer = Layer(self.config.layers[index], self.config.d_model, self.config.eps)
        layer = layer.to(self.dtype).to_empty(device="cpu").requires_grad_(False).eval()
        for own, parameter in layer.named_parameters():
            parameter.copy_(finite(self._chosen[f"layers.{index}.{own}"]))
        return layer

    def embedding(self) -> Tensor:
        """Embedding, as it is stored."""
        return finite(self._chosen["embedding.weight"])

    def head(self, rows: slice) -> Tensor:
        """Some rows of the head."""
        tied = self.config.tie_embeddings
        stored = self._chosen["embedding.weight" if tied else "lm_head.weight"]
        return finite(stored, rows).to(self.dtype)

    def norm_f(self) -> Tensor:
        """Weight of the last norm."""
        return finite(self._chosen["norm_f"]).to(self.dtype)
