"""What calibration sees: the ranges of one float layer, and the inputs of its projections."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.mamba2 import Cache, Mamba2, Mamba2Layer

__all__ = ["LayerTrace", "sample_sequences", "trace_layer"]

PIECE = 32  # tokens between two looks at the state


@dataclass
class LayerTrace:
    """Largest magnitudes on the way through a layer, and the inputs of its two projections."""

    ranges: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # by channel
    kept: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)

    def see(self, name: str, value: Tensor) -> None:
        """Take (batch, seqlen, channels)."""
        largest = value.abs().flatten(0, -2).amax(0).double().numpy()
        self.ranges[name] = np.maximum(self.ranges.get(name, 0.0), largest)
        if name in ("in_proj.input", "out_proj.input"):
            self.kept.setdefault(name, []).append(value.float().numpy())

    def absorb(self, other: "LayerTrace") -> None:
        """Add the trace of other sequences, whose pieces are joined along the sequence."""
        for name, value in other.ranges.items():
            self.ranges[name] = np.maximum(self.ranges.get(name, 0.0), value)
        for name, pieces in other.kept.items():
            self.kept.setdefault(name, []).append(np.concatenate(pieces, axis=1))

    def largest(self, name: str, channels: slice = slice(None)) -> float:
        """Largest magnitude of a value over some channels."""
        return float(self.ranges[name][channels].max())

    def inputs(self, name: str) -> NDArray[np.float32]:
        """Kept inputs, (sequences, seqlen, channels)."""
        return np.concatenate(self.kept[name])


@torch.no_grad()
def trace_layer(layer: Mamba2Layer, u: Tensor, batch: int = 8) -> tuple[Tensor, LayerTrace]:
    """Run (sequences, seqlen, d_model) through a float layer: its output, and what was seen."""
    total, out = LayerTrace(), torch.empty_like(u)
    try:
        for start in range(0, len(u), batch):
            rows = slice(start, start + batch)
            cache: Cache = layer.mixer.empty_cache(len(u[rows]))
            trace = LayerTrace()
            layer.mixer.observe = trace.see
            for at in range(0, u.shape[1], PIECE):
                piece = slice(at, at + PIECE)
                out[rows, piece], cache = layer(u[rows, piece], cache)
                trace.see("state", cache.ssm_state.flatten(1)[:, None])
            total.absorb(trace)
    finally:
        layer.mixer.observe = None
    return out, total


@torch.no_grad()
def sample_sequences(
    model: Mamba2, valid_vocab: int, *, sequences: int, seqlen: int, seed: int
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
