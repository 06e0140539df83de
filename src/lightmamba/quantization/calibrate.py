"""Calibration of one float layer: ranges of its intermediate values, and its output."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.floating import Cache
from lightmamba.model.causal_lm import CausalLM, Layer

__all__ = ["InputTrace", "LayerTrace", "run_layer", "sample_sequences"]

PIECE = 32  # tokens between two looks at the state
See = Callable[[str, Tensor], None]


@dataclass
class LayerTrace:
    """Largest magnitudes on the way through a layer, by channel."""

    largest_seen: dict[str, Tensor] = field(default_factory=dict)

    def see(self, name: str, value: Tensor) -> None:
        """Take (batch, seqlen, channels)."""
        largest = value.abs().flatten(0, -2).amax(0)
        if name in self.largest_seen:
            largest = torch.maximum(largest, self.largest_seen[name])
        self.largest_seen[name] = largest

    @property
    def ranges(self) -> dict[str, NDArray[np.float64]]:
        """Largest magnitude of every value by channel."""
        return {name: x.cpu().double().numpy() for name, x in self.largest_seen.items()}


@dataclass
class InputTrace:
    """Ends of the ranges of the two projections' inputs, and every n-th of them.

    Parameters
    ----------
    every : int
        1 keeps all inputs.
    """

    every: int
    low: dict[str, Tensor] = field(default_factory=dict)
    high: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, list[Tensor]] = field(default_factory=dict)
    _passed: dict[str, int] = field(default_factory=dict)

    def see(self, name: str, value: Tensor) -> None:
        """Take (batch, seqlen, channels)."""
        if name not in ("in_proj.input", "out_proj.input"):
            return
        flat = value.flatten(0, -2)
        low, high = flat.amin(0), flat.amax(0)
        self.low[name] = torch.minimum(low, self.low.get(name, low))
        self.high[name] = torch.maximum(high, self.high.get(name, high))
        passed = self._passed.get(name, 0)
        self._passed[name] = passed + len(flat)
        self.kept.setdefault(name, []).append(flat[-passed % self.every :: self.every].clone())

    def inputs(self, name: str) -> Tensor:
        """Kept inputs, (vectors, channels), in no order that matters."""
        return torch.cat(self.kept[name])


@torch.no_grad()
def run_layer(layer: Layer, u: Tensor, see: See) -> Tensor:
    """Run (batch, seqlen, d_model) through a float layer, piece by piece; ``see`` sees it all."""
    out = torch.empty_like(u)
    cache: Cache = layer.mixer.empty_cache(len(u))
    layer.mixer.observe = see
    try:
        for at in range(0, u.shape[1], PIECE):
            piece = slice(at, at + PIECE)
            out[:, piece], cache = layer(u[:, piece], cache)
            see("state", cache.values()[:, None])
    finally:
        layer.mixer.observe = None
    return out


@torch.no_grad()
def sample_sequences(
    model: CausalLM, valid_vocab: int, *, sequences: int, seqlen: int, seed: int
) -> NDArray[np.int64]:
    """Sequences drawn from the model itself, for one that has no tokenizer."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(valid_vocab, (sequences, 1), generator=generator)
    caches, out = model.empty_caches(sequences), [ids[:, 0]]
    for _ in range(seqlen - 1):
        logits, caches = model.step(out[-1], caches)
        weights = logits[:, :valid_vocab].double().softmax(-1)
        out.append(torch.multinomial(weights, 1, generator=generator)[:, 0])
    return torch.stack(out, 1).numpy()
