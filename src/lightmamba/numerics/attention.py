"""Attention of one query over the positions before it: integer scores, base-2 softmax, online.

Keys and values are int8 with a power-of-two scale per block, as x, B and C of the state-space model
are. The softmax scale and log2 e lie in the weights that make the queries, so that a score is an
exponent of two: softmax is 2^(s - max), and a change of the running maximum, a whole number, is a
shift. Positions are taken in pages of 32 that begin at multiples of 32, in order, so that the same
positions give the same integers whoever computes them.
Source of the online form: Milakov and Gimelshein, arXiv 1805.02867; by blocks, Dao et al., arXiv
2205.14135, algorithm 1.
"""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.formats import INT24, IntFormat
from lightmamba.numerics.primitives import Int, Ints, round_shift, saturate
from lightmamba.numerics.tables import Exp2, Reciprocal

__all__ = ["PAGE", "POSITIONS", "Attention"]

PAGE = 32  # positions that are weighed against one maximum
POSITIONS = 1 << 17  # most that a sequence may have: 131,072


@dataclass(frozen=True)
class Attention:
    """Arithmetic of one head.

    Widths, proved for :data:`POSITIONS` positions (tests/numerics/test_attention.py): a score's sum
    of products below 2^42; a weight below 2^24; the sum of weights below 2^42; the sum of weighted
    values below 2^58; divided by the power of two of the sum of weights, 2^33.

    Parameters
    ----------
    block : int
        Channels of a head that share a scale.
    """

    block: int = 32
    score: IntFormat = field(default=IntFormat(32, symmetric=True))  # 16 fractional bits
    out: IntFormat = INT24
    exp2: Exp2 = field(default=Exp2())
    reciprocal: Reciprocal = field(default=Reciprocal())

    @property
    def scale(self) -> Pow2Block:
        """How queries, keys and values are quantized along a head."""
        return Pow2Block(8, self.block)

    def scores(self, q: Ints, q_exp: Ints, k: Ints, k_exp: Ints, shift: Int) -> tuple[Ints, int]:
        """Exponents of two with 16 fractional bits, and how many saturated.

        Parameters
        ----------
        q, k : (..., head_dim), (..., positions, head_dim)
            int8, zero-padded to whole blocks.
        q_exp, k_exp : (..., blocks), (..., positions, blocks)
            Exponents of the blocks.
        shift
            Right shift of a sum of products.

        Returns
        -------
        scores : (..., positions)
        overflows : int
        """
        products = q[..., None, :] * k
        sums = products.reshape(*products.shape[:-1], -1, self.block).sum(-1)
        wide = round_shift((sums << (q_exp[..., None, :] + k_exp)).sum(-1), shift)
        return self.score(wide), self.score.overflows(wide)

    def weigh(self, scores: Ints, v: Ints, v_exp: Ints) -> tuple[Ints, Ints]:
        """Sum of weighted values (heads, head_dim), and of the weights (heads,).

        Parameters
        ----------
        scores : (heads, positions)
            Of all positions, from the first one.
        v, v_exp : (heads, positions, head_dim), (heads, positions, blocks)
            int8, zero-padded to whole blocks, and their exponents.
        """
        heads, positions = scores.shape
        values = v.astype(np.int64) << np.repeat(v_exp.astype(np.int64), self.block, axis=-1)
        total, weights = np.zeros((heads, v.shape[-1]), np.int64), np.zeros(heads, np.int64)
        largest = scores[:, :PAGE].max(1) >> 16
        for start in range(0, positions, PAGE):
            page = slice(start, min(start + PAGE, positions))
            now = np.maximum(largest, scores[:, page].max(1) >> 16)
            fall = np.minimum(now - largest, 62)
            total = round_shift(total, fall[:, None])
            weights = round_shift(weights, fall)
            largest = now
            below = ((now + 1) << 16)[:, None] - scores[:, page]  # 1 and more
            weight = self.exp2(np.minimum(below << 8, self.exp2.top))
            total = total + (weight[..., None] * values[:, page]).sum(1)
            weights = weights + weight.sum(1)
        return total, weights

    def divide(self, total: Ints, weights: Ints, shift: Int) -> tuple[Ints, int]:
        """Mean value (heads, head_dim) in int24, and how many saturated.

        ``shift`` brings values to the output's exponent; 0 keeps that of v.
        """
        mantissa, j = self.reciprocal(weights)
        wide = round_shift(total, saturate(j, 0, 62)[:, None])
        mean = round_shift(wide * mantissa[:, None], 31 + shift)
        return self.out(mean), self.out.overflows(mean)
