"""A float language model of any sequence of layers (torch)."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightmamba.blocks import kind
from lightmamba.blocks.floating import Cache, rms_norm
from lightmamba.blocks.layer import Sizes
from lightmamba.model.config import ModelConfig

__all__ = ["CausalLM", "Layer"]


class Layer(nn.Module):
    """Norm, mixer, residual addition."""

    def __init__(self, sizes: Sizes, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.norm = nn.Parameter(torch.ones(d_model))
        self.before_in: nn.Module = nn.Identity()  # as the mixer's before_out
        self.mixer: Any = kind(sizes.kind).floating.Mixer(sizes, d_model)

    def forward(self, u: Tensor, cache: Cache, *, step: bool = False) -> tuple[Tensor, Cache]:
        mixer = self.mixer.step if step else self.mixer
        out, cache = mixer(self.before_in(rms_norm(u, self.norm, self.eps)), cache)
        return u + out, cache


class CausalLM(nn.Module):
    """Language model: token ids in, logits out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        layers = nn.ModuleList(Layer(sizes, config.d_model, config.eps) for sizes in config.layers)
        self.layers = cast(Sequence[Layer], layers)  # a list of modules forgets their type
        self.norm_f = nn.Parameter(torch.ones(config.d_model))
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    def empty_caches(self, batch: int) -> list[Cache]:
        """One cache per layer, for sequences that have not begun."""
        return [layer.mixer.empty_cache(batch) for layer in self.layers]

    def forward(self, ids: Tensor, caches: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, seqlen, vocab_size) of (batch, seqlen) ids, and the caches after them."""
        return self._run(ids, caches, step=False)

    def step(self, ids: Tensor, caches: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, vocab_size) of one token each, (batch,) ids, by the recurrence."""
        return self._run(ids, caches, step=True)

    def _run(
        self, ids: Tensor, caches: list[Cache] | None, *, step: bool
    ) -> tuple[Tensor, list[Cache]]:
        caches = self.empty_caches(ids.shape[0]) if caches is None else caches
        u, after = self.embedding(ids), []
        for layer, cache in zip(self.layers, caches, strict=True):
            u, cache = layer(u, cache, step=step)
            after.append(cache)
        return self.lm_head(rms_norm(u, self.norm_f, self.config.eps)), after
