"""The float checkpoint as the evaluation and the comparison see it: numpy in, numpy out."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.mamba2 import Cache, Mamba2

__all__ = ["FloatModel"]


class FloatModel:
    """A float Mamba2 with its caches outside, like the integer engine."""

    def __init__(self, model: Mamba2, valid_vocab: int) -> None:
        self.model = model.eval()
        self.vocab_size, self.valid_vocab = model.config.vocab_size, valid_vocab

    def empty_state(self, batch: int) -> list[Cache]:
        """Caches of sequences that have not begun."""
        return self.model.empty_caches(batch)

    @torch.no_grad()
    def logits(
        self, ids: NDArray[np.int64], state: list[Cache]
    ) -> tuple[NDArray[np.float32], list[Cache]]:
        """Logits (batch, seqlen, vocab_size), and the caches after."""
        logits, after = self.model(torch.from_numpy(ids), state)
        return logits.numpy(), after

    @torch.no_grad()
    def trace(self, ids: NDArray[np.int64]) -> Sequence[tuple[str, NDArray[np.floating]]]:
        """Residual stream after every layer, (batch, seqlen, d_model)."""
        u, out = self.model.embedding(torch.from_numpy(ids)), []
        for i, layer in enumerate(self.model.layers):
            u, _ = layer(u, layer.mixer.empty_cache(len(ids)))
            out.append((f"layer.{i}.residual", u.numpy()))
        return out
