"""A float language model of any sequence of layers (torch)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.blocks import kind
from lightmamba.blocks.floating import Cache, rms_norm
from lightmamba.blocks.layer import Sizes
from lightmamba.model.config import ModelConfig
from lightmamba.model.products import FastLinear

__all__ = ["CausalLM", "FloatModel", "FloatState", "Layer"]


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

    def forward(
        self, ids: Tensor, caches: list[Cache] | None = None, *, last_only: bool = False
    ) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, seqlen or 1, vocab_size) of (batch, seqlen) ids, and caches after them."""
        return self._run(ids, caches, step=False, last_only=last_only)

    def step(self, ids: Tensor, caches: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, vocab_size) of one token each, (batch,) ids, by the recurrence."""
        return self._run(ids, caches, step=True, last_only=False)

    def _run(
        self, ids: Tensor, caches: list[Cache] | None, *, step: bool, last_only: bool
    ) -> tuple[Tensor, list[Cache]]:
        caches = self.empty_caches(ids.shape[0]) if caches is None else caches
        u, after = self.embedding(ids), []
        for layer, cache in zip(self.layers, caches, strict=True):
            u, cache = layer(u, cache, step=step)
            after.append(cache)
        u = u[:, -1:] if last_only else u
        return self.lm_head(rms_norm(u, self.norm_f, self.config.eps)), after


@dataclass
class FloatState:
    """States of some sequences, by layer."""

    caches: list[Cache]

    def take(self, rows: NDArray[np.int64]) -> "FloatState":
        """Copy of the sequences ``rows``, in this order; one may come several times."""
        chosen = torch.from_numpy(rows)
        return FloatState([cache.take(chosen) for cache in self.caches])


class FloatModel:
    """A float model with its caches outside, like the integer engine: numpy in, numpy out."""

    logit_exponent = 0  # logits are in nats

    def __init__(self, model: CausalLM, valid_vocab: int) -> None:
        self.model = model.eval()
        self.vocab_size, self.valid_vocab = model.config.vocab_size, valid_vocab

    @property
    def routers(self) -> dict[int, Any]:
        """Mixers that choose experts, by the number of their layer."""
        mixers = enumerate(layer.mixer for layer in self.model.layers)
        return {index: mixer for index, mixer in mixers if mixer.sizes.routed}

    def empty_state(self, batch: int) -> FloatState:
        """Caches of sequences that have not begun."""
        return FloatState(self.model.empty_caches(batch))

    @torch.no_grad()
    def forward(
        self, ids: NDArray[np.int64], state: FloatState, *, last_only: bool = True
    ) -> tuple[NDArray[np.float32], FloatState]:
        """Logits (batch, seqlen or 1, vocab_size) of (batch, seqlen) ids, and the caches after."""
        with FastLinear():
            logits, after = self.model(torch.from_numpy(ids), state.caches, last_only=last_only)
        return logits.numpy(), FloatState(after)

    @torch.no_grad()
    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.floating]]]:
        """Residual stream after every layer, (batch, seqlen, d_model)."""
        u, out = self.model.embedding(torch.from_numpy(ids)), []
        for i, layer in enumerate(self.model.layers):
            u, _ = layer(u, layer.mixer.empty_cache(len(ids)))
            out.append((f"layer.{i}.residual", u.numpy()))
        return out
