"""The update of the SSM state, h = decay·h + (dt·x)⊗B, in the two ways that its width asks for.

A state of 8 bits is updated in 16 bits, in a unit of its own block (:class:`BlockUpdate`); a wider
one in a frame of 32 bits that a layer has in common (:class:`FrameUpdate`).
"""

from dataclasses import dataclass, field

import numpy as np

from lightmamba.numerics.blocks import Pow2Block, block_magnitude, dither
from lightmamba.numerics.formats import INT16, IntFormat
from lightmamba.numerics.primitives import Ints, bit_length, round_shift, saturate

__all__ = [
    "DECAY_BITS", "FACTOR_BITS", "LARGEST_EXP", "UNIT_BITS", "BlockUpdate", "FrameUpdate", "Update",
    "decay_dither", "decay_factor", "input_factor", "merge", "round_dithered", "unit_of",
]  # fmt: skip

DECAY_BITS = 24
FACTOR_BITS = 15  # of what a state element and an element of B are multiplied by
UNIT_BITS = 7  # how far the unit of a block is below the last bit of its largest element
LARGEST_EXP = 24  # of a block of an 8-bit state
HALF_UP = 128  # in place of an element's dither


def merge(decay: Ints, h: Ints, h_exp: Ints, product: Ints, shift: Ints) -> Ints:
    """decay·h and dt·x·B, each rounded into the frame, added and not yet saturated."""
    return round_shift(decay * h, DECAY_BITS - h_exp) + round_shift(product, shift)


def round_dithered(v: Ints, exponent: Ints, d: Ints) -> Ints:
    """floor(v / 2^exponent + (2d + 1) / 512): the thresholds lie evenly, so no step leans.

    (Up to an exponent of 8 the half unit of d drops out of the whole numbers.)
    """
    wide: Ints = v + ((d << exponent) >> 8) + ((1 << exponent) >> 9)
    return wide >> exponent


def decay_dither(position: Ints, head: Ints) -> Ints:
    """Odd number below 512 that rounds the decay of a head at a position.

    With the places of position and element exchanged, so that the two dithers differ in step.
    """
    return 2 * dither(position, head) + 1


def magnitude_bits(x: Ints) -> Ints:
    """Bits of a magnitude in two's complement: of -128 as of 127."""
    bits: Ints = x ^ (x >> 63)
    return bits


def unit_of(h_exp: Ints, dtx: Ints, shift: Ints) -> Ints:
    """Exponent of the largest that a block can become, 0 to 54; its unit is ``UNIT_BITS`` lower.

    It is that of the old elements or of dt·x·B, whichever is larger.
    """
    grown = np.where(dtx != 0, bit_length(magnitude_bits(dtx)) - shift, 0)
    top: Ints = np.maximum(h_exp, grown)
    return top


def decay_factor(decay: Ints, right: Ints, threshold: Ints) -> Ints:
    """decay / 2^right with ``FACTOR_BITS`` fractional bits, rounded by ``threshold`` of 512.

    32768, which only a decay above 1 - 2^-15 gives, becomes 32767: for a product with 8 bits that
    is rounded to 7 fractional bits the two are the same.
    """
    rounded = ((decay >> right) + threshold) >> (DECAY_BITS - FACTOR_BITS)
    return saturate(rounded, 0, (1 << FACTOR_BITS) - 1)


def input_factor(dtx: Ints, right: Ints) -> Ints:
    """dt·x / 2^right, -15 to 62, in 16 bits."""
    return INT16(round_shift(dtx, right))


@dataclass(frozen=True)
class FrameUpdate:
    """In 32 bits with one static exponent per layer, for states of 8 to 16 bits."""

    scale: Pow2Block
    rounding: str = "dither"
    frame: IntFormat = field(default=IntFormat(32, symmetric=True))

    def __call__(
        self, h: Ints, h_exp: Ints, decay: Ints, dtx: Ints, B: Ints, shift: Ints, token: Ints
    ) -> tuple[Ints, Ints, int]:
        """See :meth:`~lightmamba.numerics.ssm.SsmStep.update`; counts elements that saturate."""
        per = self.scale.block
        total = merge(
            decay[..., None, None], h, np.repeat(h_exp, per, axis=-1),
            dtx[..., None] * B[..., None, :], np.repeat(shift, per, axis=-1),
        )  # fmt: skip
        v = self.frame(total)
        e = self.scale.exponent(block_magnitude(v, per))
        wide = np.repeat(e, per, axis=-1)
        if self.rounding == "dither":
            q = round_dithered(v, wide, _elements(h, token))
        else:
            q = round_shift(v, wide)
        return self.scale.form(q), e, self.frame.overflows(total)


@dataclass(frozen=True)
class BlockUpdate:
    """In 16 bits with a unit per block, for states of 8 bits.

    Decay and dt·x are brought to the unit of a block before they are multiplied, so that an element
    needs two products of 8 with 16 bits, each rounded by 8 bits, and their sum: 32,512 at most.
    """

    scale: Pow2Block
    rounding: str = "dither"

    def __call__(
        self, h: Ints, h_exp: Ints, decay: Ints, dtx: Ints, B: Ints, shift: Ints, token: Ints
    ) -> tuple[Ints, Ints, int]:
        """See :meth:`~lightmamba.numerics.ssm.SsmStep.update`; counts blocks that saturate."""
        per = self.scale.block
        if self.rounding == "dither":
            threshold = decay_dither(token[:, None], np.arange(decay.shape[1]))[..., None, None]
            d = _elements(h, token)
        else:
            threshold, d = np.array(2 * HALF_UP), np.array(HALF_UP)
        top = unit_of(h_exp, dtx[..., None], shift)
        kept = decay_factor(decay[..., None, None], np.minimum(top - h_exp, FACTOR_BITS), threshold)
        grown = input_factor(dtx[..., None], np.minimum(shift + top - FACTOR_BITS, DECAY_BITS))
        old, new = (np.repeat(v, per, axis=-1) for v in (kept, grown))
        v = round_shift(h * old, 8) + round_shift(B[..., None, :] * new, 8)
        size = bit_length(block_magnitude(magnitude_bits(v), per))
        some = block_magnitude(v, per) > 0
        e = np.maximum(top + size - 2 * UNIT_BITS, 0) * some
        up = np.where(some, top + 1 - e, 0)
        q = ((v << np.repeat(up, per, axis=-1)) + d) >> 8
        lost = int(np.count_nonzero(e > LARGEST_EXP))
        return self.scale.form(q), np.minimum(e, LARGEST_EXP), lost


Update = FrameUpdate | BlockUpdate


def _elements(h: Ints, token: Ints) -> Ints:
    """Dither of every element of a state."""
    headdim, d_state = h.shape[-2:]
    index = np.arange(headdim * d_state).reshape(headdim, d_state)
    return dither(index, token[:, None, None, None])
