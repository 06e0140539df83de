"""Which arithmetic a quantized model is for: the numerics objects, chosen by a few numbers."""

from dataclasses import dataclass

from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.ssm import SsmStep

__all__ = ["Formats"]


@dataclass(frozen=True)
class Formats:
    """Bit-widths, blocks and groups of one quantized model; all of it is data."""

    weight_bits: int = 4
    act_bits: int = 4
    block: int = 32  # inputs of in_proj and out_proj that share a scale
    group: int = 128  # weights along the input axis that share a scale
    head_weight_bits: int = 4
    head_act_bits: int = 8
    head_block: int = 32
    head_qmax: int = 119  # so that a value splits into two signed nibbles
    state_bits: int = 8
    state_rounding: str = "dither"
    hadamard: int = 128  # on-line transform before out_proj: order, 0 a whole norm group, 1 none

    def __post_init__(self) -> None:
        if self.hadamard < 0 or (self.hadamard & (self.hadamard - 1)) or self.hadamard > 128:
            raise ValueError(
                f"hadamard must be 0 (whole group), 1 (none) or a power of two up to 128, "
                f"not {self.hadamard}"
            )
        if self.head_act_bits in (4, 8) and not 1 <= self.head_qmax < 1 << self.head_act_bits - 1:
            raise ValueError(
                f"head_qmax must be 1 to {(1 << self.head_act_bits - 1) - 1} at "
                f"{self.head_act_bits} bits, not {self.head_qmax}"
            )
        _ = self.projection, self.head, SsmStep(self.state_bits, 32, self.state_rounding)

    @property
    def projection(self) -> Projection:
        """Arithmetic of in_proj and out_proj."""
        act = BlockQuant(self.act_bits, self.block)
        return Projection(act, self.weight_bits, self.group)

    @property
    def head(self) -> Projection:
        """Arithmetic of the head."""
        act = BlockQuant(self.head_act_bits, self.head_block, self.head_qmax)
        return Projection(act, self.head_weight_bits, self.group)

    @property
    def transform(self) -> OnlineHadamard:
        """Transform of the input of out_proj."""
        return OnlineHadamard(self.hadamard, pad=self.group)

    def in_channels(self, d_model: int) -> int:
        """Columns of in_proj and the head: d_model, zero-padded to whole groups."""
        return -(-d_model // self.group) * self.group
