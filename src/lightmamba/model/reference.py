"""The float checkpoint as the evaluation and the comparison see it: numpy in, numpy out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks.floating import Cache, rms_norm
from lightmamba.model.causal_lm import CausalLM

__all__ = ["FloatModel", "FloatState"]


@dataclass
class FloatState:
    """States of some sequences, by layer."""

    caches: list[Cache]

    def take(self, rows: NDArray[np.int64]) -> "FloatState":
        """Copy of the sequences ``rows``, in this order; one may come several times."""
        chosen = torch.from_numpy(rows)
        return FloatState([cache.take(chosen) for cache in self.caches])


class FloatModel:
    """A float model with its caches outside, like the integer engine."""

    logit_exponent = 0  # logits are in nats

    def __init__(self, model: CausalLM, valid_vocab: int) -> None:
        self.model = model.eval()
        self.vocab_size, self.valid_vocab = model.config.vocab_size, valid_vocab

    def empty_state(self, batch: int) -> FloatState:
        """Caches of sequences that have not begun."""
        return FloatState(self.model.empty_caches(batch))

    @torch.no_grad()
    def forward(
        self, ids: NDArray[np.int64], state: FloatState, *, last_only: bool = True
    ) -> tuple[NDArray[np.float32], FloatState]:
        """Logits (batch, seqlen or 1, vocab_size) of (batch, seqlen) ids, and the caches after."""
        u, after = self.model.embedding(torch.from_numpy(ids)), []
        for layer, cache in zip(self.model.layers, state.caches, strict=True):
            u, cache = layer(u, cache)
            after.append(cache)
        u = rms_norm(u[:, -1:] if last_only else u, self.model.norm_f, self.model.config.eps)
        return self.model.lm_head(u).numpy(), FloatState(after)

    @torch.no_grad()
    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.floating]]]:
        """Residual stream after every layer, (batch, seqlen, d_model)."""
        u, out = self.model.embedding(torch.from_numpy(ids)), []
        for i, layer in enumerate(self.model.layers):
            u, _ = layer(u, layer.mixer.empty_cache(len(ids)))
            out.append((f"layer.{i}.residual", u.numpy()))
        return out
