"""Choice of experts for each token, and the weight of each of them.

A router is a projection with a row per expert; its scores have 16 fractional bits, and those of the
softmax kind are exponents of two, since log2 e is in its weights. The chosen experts are listed in
ascending order, and their weights multiply the hidden values, so that every later sum is exact in
any order.
Sources: Granite-4.0-H (softmax over the chosen scores), Nemotron-3 (sigmoid, a bias that decides
the choice and not the weight; DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
"""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.formats import INT16
from lightmamba.numerics.primitives import Ints, round_shift
from lightmamba.numerics.tables import Q5_11, Exp2, Reciprocal, Sigmoid

__all__ = ["ONE", "SCORE_BITS", "Routing", "largest", "weighted"]

SCORE_BITS = 16  # fractional bits of a score
WEIGHT_BITS = 15  # and of a weight
ONE = 1 << WEIGHT_BITS  # weight of an expert that every token takes


def largest(keys: Ints, count: int) -> Ints:
    """Places of the ``count`` largest of (..., n) keys, ascending; of equal keys, the first."""
    order = np.argsort(-keys, axis=-1, kind="stable")
    return np.sort(order[..., :count], axis=-1)


def weighted(hidden: Ints, weight: Ints) -> Ints:
    """Hidden values (..., channels) times a weight; never larger in magnitude than they were."""
    return round_shift(hidden * weight[..., None], WEIGHT_BITS)


@dataclass(frozen=True)
class Routing:
    """Choice of the ``top_k`` best experts of a token.

    Parameters
    ----------
    top_k : int
        Experts that a token takes.
    scoring : str
        "softmax": the largest scores, weights are their softmax. "sigmoid": the largest sums of
        sigmoid and bias, weights are the sigmoids.
    normed : bool
        Whether sigmoids are divided by their sum.
    """

    top_k: int
    scoring: str = "softmax"
    normed: bool = True
    sigmoid: Sigmoid = field(default=Sigmoid())
    exp2: Exp2 = field(default=Exp2())
    reciprocal: Reciprocal = field(default=Reciprocal())

    def __post_init__(self) -> None:
        if self.scoring not in ("softmax", "sigmoid"):
            raise ValueError(f"scoring must be softmax or sigmoid, not {self.scoring!r}")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")

    def __call__(self, score: Ints, bias: Ints | None = None) -> tuple[Ints, Ints]:
        """Choose experts, (vectors, top_k), and their weights, by (vectors, experts) scores."""
        chosen = self.choose(score, bias)
        return chosen, self.weights(score, chosen)

    def choose(self, score: Ints, bias: Ints | None = None) -> Ints:
        """Experts, (vectors, top_k), in ascending order.

        Parameters
        ----------
        score : (vectors, experts)
            int32 with :data:`SCORE_BITS` fractional bits.
        bias : (experts,)
            Added to the sigmoids for the choice only, int24 in units of 2^-16.
        """
        if self.scoring == "softmax":
            return largest(score, self.top_k)
        sigma = self._sigmoids(score)
        return largest(sigma if bias is None else sigma + bias, self.top_k)

    def weights(self, score: Ints, chosen: Ints) -> Ints:
        """Weights of (vectors, top_k) experts: 0 to :data:`ONE`, with 15 fractional bits."""
        mine = np.take_along_axis(score, chosen, -1)
        if self.scoring == "softmax":
            return self.softmax(mine)
        sigma = self._sigmoids(mine)
        return self.shares(sigma) if self.normed else sigma >> 1

    def _sigmoids(self, score: Ints) -> Ints:
        return self.sigmoid(INT16(round_shift(score, SCORE_BITS + Q5_11)))

    def softmax(self, score: Ints) -> Ints:
        """Weights of (vectors, top_k) scores, which are exponents of two."""
        below = score.max(-1, keepdims=True) - score
        fall = np.minimum(below << (24 - SCORE_BITS), self.exp2.top)
        return self.shares(self.exp2(fall))

    def shares(self, values: Ints) -> Ints:
        """Values of 16 or 24 bits over their sum, at most :data:`ONE`."""
        mantissa, j = self.reciprocal(np.maximum(values.sum(-1, keepdims=True), 1))
        return np.minimum(round_shift(values * mantissa, 31 - WEIGHT_BITS + j), ONE)
