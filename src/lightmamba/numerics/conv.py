"""Causal convolution and SiLU."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.formats import INT8, INT16, INT24, IntFormat
from lightmamba.numerics.primitives import Int, Ints, round_shift
from lightmamba.numerics.tables import Sigmoid

__all__ = ["CausalConv", "Silu", "gate_by_sigmoid"]


def gate_by_sigmoid(x: Ints, sigma: Ints) -> Ints:
    """x·σ, with σ in 16 fractional bits."""
    return round_shift(x * sigma, 16)


@dataclass(frozen=True)
class Silu:
    """x·σ(x), the factor σ from the table and x at its full width; the result is no wider."""

    sigmoid: Sigmoid = field(default=Sigmoid())
    table: IntFormat = INT16

    def __call__(self, x: Ints, shift: Int) -> Ints:
        """Map x of exponent e, with ``shift`` = -11 - e, to the same exponent."""
        return gate_by_sigmoid(x, self.sigmoid(self.table(round_shift(x, shift))))


@dataclass(frozen=True)
class CausalConv:
    """Depthwise convolution: int8 inputs and weights, an exponent per channel, int16 out.

    A sum of four products and the bias fits 25 bits.
    """

    input: IntFormat = INT8
    weight: IntFormat = INT8
    bias: IntFormat = INT24
    out: IntFormat = INT16

    def __call__(
        self,
        x: Ints,
        state: NDArray[np.int8],
        in_shift: Ints,
        weight: Ints,
        bias: Ints,
        out_shift: Ints,
    ) -> tuple[Ints, NDArray[np.int8], tuple[int, int]]:
        """Convolve (batch, seqlen, channels) int16 rows after a state of the last inputs.

        Parameters
        ----------
        x : (batch, seqlen, channels)
            Rows of in_proj.
        state : (batch, taps - 1, channels)
            Quantized inputs before the first.
        in_shift, bias, out_shift : (channels,)
            Shift to int8, bias in units of the sum, shift to the output's exponent.
        weight : (taps, channels)
            The oldest tap first.

        Returns
        -------
        out, state, (input overflows, output overflows)
        """
        taps, seqlen = len(weight), x.shape[1]
        shifted = round_shift(x, in_shift)
        window = np.concatenate([state, self.input(shifted).astype(np.int8)], axis=1)
        acc = bias[None, None]
        for k in range(taps):
            acc = acc + window[:, k : k + seqlen].astype(np.int64) * weight[k]
        wide = round_shift(acc, out_shift)
        lost = self.input.overflows(shifted), self.out.overflows(wide)
        return self.out(wide), window[:, seqlen:], lost
