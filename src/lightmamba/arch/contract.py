"""Numbers that compiler, hardware, host and estimate must agree on, each said once."""

__all__ = [
    "BLOCK", "BLOCKS_HELD", "CONV_HEADER", "EXPONENT_RUN", "GATE_WEIGHTS", "GROUP", "PAGE",
    "RECORD_BITS", "SCALE_PERIOD", "TAPS", "WORD", "WORD_BITS", "exponents",
]  # fmt: skip

PAGE = 4096  # bytes: no burst crosses a multiple, and regions of memory begin at one
WORD_BITS = 64  # of the small streams: parameters, embedding, conv state, logits
WORD = WORD_BITS // 8  # bytes of such a word
BLOCK = 32  # activations, and state elements, that share a scale
BLOCKS_HELD = 2 * BLOCK  # elements that a unit holds until it knows the exponents of two blocks
GROUP = 128  # weights that share a scale
SCALE_PERIOD = {4: 64, 8: 128}  # weight beats that one scale beat covers, by weight bits
TAPS = 4  # of the convolution; a shorter kernel has zeros for its oldest
CONV_HEADER = 8  # channels of the convolution whose output shifts share a word, which precedes them
GATE_WEIGHTS = 4  # of the gated norm in a word
RECORD_BITS = 12  # of one token's x or B in the record of a pass: q, and above it its exponent
EXPONENT_RUN = 32  # beats of state elements after each beat of their exponents


def exponents(elements: int) -> int:
    """Exponents of a word of elements: one for each block, or that of the block it is a part of."""
    return max(1, elements // BLOCK)
