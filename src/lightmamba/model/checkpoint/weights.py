"""The float weights of a model, a layer at a time, wherever they lie."""

import copy
from typing import Protocol

import torch
from torch import Tensor

from lightmamba.model.causal_lm import CausalLM, Layer
from lightmamba.model.checkpoint.chosen import choose
from lightmamba.model.checkpoint.origins import Published
from lightmamba.model.checkpoint.tensors import StoredTensor, Weights, finite
from lightmamba.model.config import ModelConfig

__all__ = ["FloatWeights", "ModelWeights", "StoredWeights"]


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
