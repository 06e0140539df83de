"""A floating-point mixture of experts (torch), which computes the chosen blocks only.

Sources: transformers' ``GraniteMoeHybridMoE`` and ``NemotronHMoE``.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.blocks.experts import arithmetic
from lightmamba.blocks.experts.arithmetic import Follow, Sizes
from lightmamba.blocks.floating import BaseMixer, NoCache, numpy64, row_exponents
from lightmamba.blocks.layer import hadamard_shift
from lightmamba.common.errors import InputError
from lightmamba.numerics.formats import HEADROOM_WIDE, exponent_for
from lightmamba.numerics.model_formats import Formats

__all__ = ["Mixer", "lower"]

TINY = 1e-20  # keeps the quotient of sigmoids finite
LEAST = 4  # tokens of each look at a layer that go through every expert, chosen or not
BIAS_BITS = 16  # fractional bits of the bias of a choice


class Mixer(BaseMixer):
    """Sum over a token's blocks of out_proj(weight · silu(a)·b), or of max(a, 0)².

    Attributes
    ----------
    router : Linear
        A score for each expert; those of a softmax are exponents of two.
    in_proj : Linear
        Of each block its rows of a, then those of b.
    out_proj : Linear
        Of each block (d_model, d_hidden), one below the other.
    choice_bias : Parameter or None
        Added to the sigmoids for the choice only, (n_experts,).
    follow : callable or None
        Chooses the experts instead, on arrays: of what the choice is made by (tokens, n_experts),
        the experts that the router chose (tokens, top_k) and their weights.
    """

    choice_bias: Tensor

    def __init__(self, sizes: Sizes, d_model: int) -> None:
        super().__init__(sizes, d_model)
        self.router = nn.Linear(d_model, sizes.n_experts, bias=False)
        self.out_proj = nn.Linear(sizes.d_hidden, sizes.blocks * d_model, bias=False)
        bias = nn.Parameter(torch.zeros(sizes.n_experts)) if sizes.scoring == "sigmoid" else None
        self.register_parameter("choice_bias", bias)
        self.follow: Follow | None = None

    def initialize(self, generator: torch.Generator) -> None:
        super().initialize(generator)
        edge = 1 / math.sqrt(self.router.in_features)
        drawn = torch.rand(self.router.weight.shape, generator=generator)
        self.router.weight.copy_((drawn * 2 - 1) * edge)

    @property
    def entering(self) -> tuple[nn.Linear, ...]:
        return self.router, self.in_proj

    def empty_cache(self, batch: int) -> NoCache:
        """Cache without values."""
        return NoCache(batch)

    def route(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Experts of (tokens, d_model), (tokens, top_k), and their weights."""
        sizes, scores = self.sizes, self._see("router", self.router(u).to(torch.float32))
        keys = scores if sizes.scoring == "softmax" else scores.sigmoid() + self.choice_bias
        chosen = keys.topk(sizes.top_k, -1).indices
        weight = self._weights(scores, chosen)
        if self.follow is not None:
            given = self.follow(keys.numpy(), chosen.numpy(), weight.numpy())
            chosen = torch.from_numpy(np.asarray(given, np.int64))
            weight = self._weights(scores, chosen)
        return chosen, weight

    def _weights(self, scores: Tensor, chosen: Tensor) -> Tensor:
        """Weights of (tokens, top_k) experts."""
        mine = scores.gather(-1, chosen)
        if self.sizes.scoring == "softmax":
            return (mine * math.log(2)).softmax(-1)
        weight = mine.sigmoid()
        return weight / (weight.sum(-1, keepdim=True) + TINY) if self.sizes.normed else weight

    def hidden(self, u: Tensor, block: int) -> Tensor:
        """Hidden values of a block, (tokens, d_hidden), before its weight."""
        each = self.sizes.block_rows
        rows = F.linear(u, self.in_proj.weight[block * each : (block + 1) * each])
        self._see("rows", rows)
        if not self.sizes.gated:
            return F.relu(rows).square()
        a, b = rows.chunk(2, -1)
        return F.silu(a) * b

    def block(self, hidden: Tensor, block: int) -> Tensor:
        """Output of a block, (tokens, d_model), of its weighted hidden values."""
        d = self.router.in_features
        mixed = self._see("out_proj.input", self.before_out(hidden))
        return F.linear(mixed, self.out_proj.weight[block * d : (block + 1) * d])

    def forward(self, u: Tensor, cache: NoCache) -> tuple[Tensor, NoCache]:
        """Map (..., d_model) to the same shape."""
        x = self._see("in_proj.input", u).flatten(0, -2)
        chosen, weight = self.route(x)
        if self.observe is not None:
            self._show_experts(x)
        out = torch.zeros_like(x)
        for block in range(self.sizes.blocks):
            if block < self.sizes.n_experts:
                tokens, place = torch.where(chosen == block)
                taken, factor = x[tokens], weight[tokens, place, None].to(x.dtype)
            else:
                tokens, taken, factor = torch.arange(len(x), device=x.device), x, x.new_ones(())
            if len(tokens):
                hidden = self._see("hidden", self.hidden(taken, block)) * factor
                out.index_add_(0, tokens, self.block(hidden, block).to(out.dtype))
        return out.view(u.shape), cache

    def _show_experts(self, x: Tensor) -> None:
        """Let every expert be seen on the tokens that score it highest, chosen or not."""
        best = self.router(x).topk(min(LEAST, len(x)), 0).indices
        for block in range(self.sizes.n_experts):
            self._see("hidden", self.hidden(x[best[:, block]], block))


def lower(
    mixer: Mixer, formats: Formats, seen: Mapping[str, NDArray[np.float64]]
) -> arithmetic.Mixer:
    """Everything of a layer but its matrices; Mamba2's ``lower`` has the parameters.

    Raises
    ------
    InputError
        If a bias of the choice has more than 24 bits.
    """
    sizes = mixer.sizes
    rows = row_exponents(sizes, seen)
    found = {
        "router": exponent_for(float(seen["router"].max()), 16, HEADROOM_WIDE),
        "b": rows["a"], **rows,
        "hidden": exponent_for(float(seen["hidden"].max()), 24, HEADROOM_WIDE),
    }  # fmt: skip
    bias = np.zeros(sizes.n_experts) if mixer.choice_bias is None else numpy64(mixer.choice_bias)
    wide = np.rint(bias * (1 << BIAS_BITS))
    if not (np.abs(wide) < 1 << 23).all():
        raise InputError(
            f"a bias of the choice of experts is {bias[np.abs(wide).argmax()]:.4g}, expected -127 "
            f"to 127"
        )
    shift = hadamard_shift(sizes, formats)
    exponents = arithmetic.Exponents(**found, hadamard_shift=shift)
    return arithmetic.Mixer(sizes, exponents, wide.astype(np.int32))
