"""One step of the state-space model: discretization, update of an INT8 state, output.

h = exp(dt·A)·h + (dt·x)⊗B, y = h·C + D·x (LightMamba, section III; Mamba2, arXiv 2405.21060,
equation 2). Scales are powers of two, so that every rescaling is a shift.
"""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.formats import INT16, INT24, IntFormat
from lightmamba.numerics.primitives import Ints, round_shift, saturate
from lightmamba.numerics.ssm_update import BlockUpdate, FrameUpdate, Update
from lightmamba.numerics.tables import Exp2, Softplus

__all__ = ["Discretize", "SsmStep"]


@dataclass(frozen=True)
class Discretize:
    """dt = softplus(dt + bias) clamped, and the decay exp(dt·A) = 2^-(dt·|A|·log2 e).

    dt is a 16-bit mantissa and a right shift; |A|·log2 e is a 15-bit mantissa and a right shift per
    head; the decay has 24 fractional bits and is below 1.

    The decay is within 2.2 units of 2^-24 of that of its dt and A (tested over every dt), and
    within 6.6e-5 of exp(dt·A) of the real dt and A.
    """

    softplus: Softplus = field(default=Softplus())
    exp2: Exp2 = field(default=Exp2())
    input: IntFormat = INT16

    def __call__(
        self, dt: Ints, bias: Ints, limits: tuple[int, int], A: Ints, A_shift: Ints
    ) -> tuple[Ints, Ints, Ints, int]:
        """Map (..., nheads) rows in Q5.11 to dt mantissa, dt shift, decay, overflows."""
        biased = dt + bias
        clamped = saturate(self.input(biased), *limits)
        mantissa, shift = self.softplus(clamped)
        exponent = round_shift(mantissa * A, saturate(shift + A_shift - 24, -30, 62))
        decay = self.exp2(np.minimum(exponent, self.exp2.top))
        return mantissa, shift, decay, self.input.overflows(biased)


@dataclass(frozen=True)
class SsmStep:
    """Update the state of every head by one token and read y from it.

    The state is ``bits`` wide with a power-of-two scale per ``block`` along d_state, quantized once
    per step; the quantized state is both what is stored and what meets C. Exponents count from
    the frame, one static exponent per layer.

    Parameters
    ----------
    bits : int
        Width of a stored state element, 8 to 16.
    rounding : str
        "dither" (the default; see :func:`~lightmamba.numerics.blocks.dither`) or "half_up".
    """

    bits: int = 8
    block: int = 32
    rounding: str = "dither"
    out: IntFormat = INT24

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise ValueError(f"state bits must be in 8..16, not {self.bits}")
        if self.rounding not in ("dither", "half_up"):
            raise ValueError(f"rounding must be 'dither' or 'half_up', not {self.rounding!r}")

    @property
    def scale(self) -> Pow2Block:
        """How a block of the state is quantized."""
        return Pow2Block(self.bits, self.block)

    @property
    def updater(self) -> Update:
        """The update of states of this width."""
        kind = BlockUpdate if self.bits == 8 else FrameUpdate
        return kind(self.scale, self.rounding)

    def update(
        self, h: Ints, h_exp: Ints, decay: Ints, dtx: Ints, B: Ints, shift: Ints, token: Ints
    ) -> tuple[Ints, Ints, int]:
        """Advance the state.

        Parameters
        ----------
        h : (batch, nheads, headdim, d_state)
            Stored state, ``bits`` wide.
        h_exp : (batch, nheads, headdim, d_state / block)
            Exponents above the frame's, 0 to 32 - bits.
        decay : (batch, nheads)
            exp(dt·A) with 24 fractional bits.
        dtx : (batch, nheads, headdim)
            24-bit products of dt's mantissa and x.
        B : (batch, nheads, d_state)
            int8.
        shift : (batch, nheads, headdim, d_state / block)
            Right shift of dtx·B into the frame, -31 to 62.
        token : (batch,)
            Position, for the dither.

        Returns
        -------
        h, h_exp, and how many blocks (of 8 bits) or elements saturated
        """
        return self.updater(h, h_exp, decay, dtx, B, shift, token)

    def read(self, h: Ints, h_exp: Ints, C: Ints, C_exp: Ints, shift: int) -> tuple[Ints, int]:
        """Contract the state with C: (batch, nheads, headdim) in y's format, and overflows.

        C is (batch, nheads, d_state), C_exp (batch, nheads, d_state / block).
        """
        products = h * C[..., None, :]
        sums = products.reshape(*h.shape[:-1], -1, self.block).sum(-1)
        y = round_shift((sums << (h_exp + C_exp[..., None, :])).sum(-1), shift)
        return self.out(y), self.out.overflows(y)

    def skip(self, y: Ints, D: Ints, x: Ints, shift: Ints) -> tuple[Ints, int]:
        """Add D·x: D (nheads,) int16, x and shift (batch, nheads, headdim)."""
        total = y + round_shift(D[:, None] * x, saturate(shift, -31, 62))
        return self.out(total), self.out.overflows(total)
