"""Cells of the units of a Mamba2 layer, for the area model."""

from lightmamba.arch.amount import Amount
from lightmamba.arch.cells import EXPONENT_BITS, Group, one, tokens
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import RECORD_BITS, exponents
from lightmamba.arch.latency import HEADS, Y_HEADS
from lightmamba.arch.memories import memory_cells

__all__ = ["GROUPS"]

# Of blocks of u280, synthesized: an element of B and C in its store, what a word of the state needs
# for each of its rows.
STORED, ROW = Amount(lut=19.3, ff=16.5), Amount(lut=1500, ff=2900, dsp=2)
DISCRETE_BITS, Y_BITS = 62, 24  # of a head's parameters, of a row of y


def _steps(arch: ArchConfig) -> Amount:
    """State-space unit: stores of B and C, their selectors, and buffers of heads."""
    if not arch.whole_heads:
        return Amount()
    tokens, rows, word = arch.tokens, arch.word_rows, arch.state_elements
    depth = HEADS * (1 << max(1, (-(-arch.head_rows // rows) - 1).bit_length()))
    memories = [
        (max(2, depth // HEADS * arch.row_words), word * 8 + exponents(word) * EXPONENT_BITS),
        *[(depth, rows * tokens * RECORD_BITS), (HEADS, tokens * DISCRETE_BITS)] * 2,
        (depth // HEADS * Y_HEADS, tokens * rows * Y_BITS),
    ]  # fmt: skip
    # Of new vectors B and C, of recorded ones B.
    found = STORED.times((1.5 * tokens - rows) * arch.bc_elements) + ROW.times(rows - 1)
    # A LUT for four inputs, for two bits of two; a register behind.
    bits = 8 * arch.bc_elements
    found += Amount(lut=bits * (2 * tokens + tokens) / 4 + 8 * word / 2, ff=2 * bits + 8 * word)
    return sum((memory_cells(*memory) for memory in memories), found)


def _windows(arch: ArchConfig) -> Amount:
    """Convolution: inputs of all slots, their selectors for all vectors, and kept inputs."""
    bits = 8 * (arch.window + 3 * 3)
    return Amount(lut=3 * bits, ff=3 * bits).times(arch.tokens - 1)


GROUPS = (
    Group("ssm", r"units\.(ssm|bc).*", lambda a: (1, a.state_elements), more=_steps, part="state"),
    Group("conv", r"units\.conv", one, copies=tokens, more=_windows),
)
