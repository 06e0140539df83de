"""Floating-point attention (torch), and its integers by the ranges that calibration saw."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.attention import arithmetic
from lightmamba.blocks.floating import BaseMixer, row_exponents
from lightmamba.blocks.layer import hadamard_shift
from lightmamba.numerics.formats import HEADROOM_WIDE, exponent_for
from lightmamba.numerics.model_formats import Formats

__all__ = ["Cache", "Mixer", "lower"]


@dataclass
class Cache:
    """Keys and values of all tokens so far."""

    k: Tensor  # (batch, tokens, n_kv_heads, head_dim)
    v: Tensor

    def take(self, rows: Tensor) -> "Cache":
        """Copy of the sequences ``rows``, in this order; one may come several times."""
        return Cache(self.k[rows], self.v[rows])

    def values(self) -> Tensor:
        """Keys and values are rows of in_proj, whose ranges are seen there: (batch, 0)."""
        return self.k.new_zeros(len(self.k), 0)


class Mixer(BaseMixer):
    """Causal attention with grouped queries and no positional encoding.

    The rows of in_proj that make the queries hold the softmax scale and log2 e: q·k is the exponent
    of two of a weight.
    """

    def initialize(self, generator: torch.Generator) -> None:
        """Uniform weights of the usual size, with the scale 1 / sqrt(head_dim)."""
        super().initialize(generator)
        scale = math.log2(math.e) / math.sqrt(self.sizes.head_dim)
        self.in_proj.weight[self.sizes.sections()["q"]] *= scale

    def empty_cache(self, batch: int) -> Cache:
        """Cache of a sequence that has not begun."""
        c = self.sizes
        none = self.in_proj.weight.new_zeros(batch, 0, c.n_kv_heads, c.head_dim)
        return Cache(none, none)

    def divide_output(self, scale: Tensor) -> Tensor:
        """Divide the input of out_proj in the rows that make v: heads that share v share scales."""
        c = self.sizes
        grouped = scale.reshape(c.n_kv_heads, c.per_group, c.head_dim).amax(1, keepdim=True)
        self.scale_rows(c.sections()["v"], 1 / grouped.flatten())
        return grouped.expand(-1, c.per_group, -1).flatten()

    def forward(self, u: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Map (batch, seqlen, d_model); the cache carries the tokens before."""
        c, seqlen = self.sizes, u.shape[1]
        parts = c.sections()
        q, k, v = self.begin(u).split([p.stop - p.start for p in parts.values()], -1)
        k, v = (x.unflatten(-1, (c.n_kv_heads, c.head_dim)) for x in (k, v))
        cache = Cache(torch.cat([cache.k, k], 1), torch.cat([cache.v, v], 1))
        # (batch, n_kv_heads, per_group, seqlen, head_dim)
        q = q.unflatten(-1, (c.n_kv_heads, c.per_group, c.head_dim)).permute(0, 2, 3, 1, 4)
        k, v = (x.transpose(1, 2)[:, :, None] for x in (cache.k, cache.v))
        scores = (q @ k.transpose(-1, -2)) * math.log(2)
        seen = torch.ones(seqlen, k.shape[-2], dtype=torch.bool, device=u.device)
        scores = scores.masked_fill(~seen.tril(k.shape[-2] - seqlen), -torch.inf)
        mean = (scores.softmax(-1) @ v).permute(0, 3, 1, 2, 4).flatten(2)
        return self.finish(self._see("mean", mean)), cache


def lower(
    mixer: Mixer, formats: Formats, seen: Mapping[str, NDArray[np.float64]]
) -> arithmetic.Mixer:
    """Everything of a layer but its two projections; Mamba2's ``lower`` has the parameters."""
    sizes = mixer.sizes
    rows = row_exponents(sizes, seen)
    mean = exponent_for(float(seen["mean"].max()), 24, HEADROOM_WIDE)
    shift = hadamard_shift(sizes, formats)
    found = arithmetic.Exponents(**rows, mean=mean, hadamard_shift=shift)
    return arithmetic.Mixer(sizes, found)
